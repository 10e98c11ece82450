//! The changes of IPVS: which services are ours, and in which order the kernel takes them cheaply.
//!
//! Deleted destinations stay in a list of the kernel for two minutes, and every new one walks it, the last deleted first
//! (`ip_vs_trash_get_dest`, net/netfilter/ipvs/ip_vs_ctl.c). So nothing is deleted to be added again; and what a flush took
//! away is put back in the reverse of the order in which it went, which is the kernel's own: that of its dumps.

use std::collections::BTreeSet;

use ipvs::{Change as IpvsChange, Scheduler, Service, ServiceConfig, ServiceFlags, ServiceKey, diff_service};

use super::{Change, Plan, Stage, vip_of};
use crate::desired::is_for_probes;
use crate::ledger::{Entry, Ledger};
use crate::observed::Observed;
use crate::state::{AddressKey, KernelState, LOOPBACK};

/// From so many destinations on, a new service with `mh` gets them under `rr`: mh builds its whole table for each one.
const MANY_FOR_MH: usize = 8;

/// All services: the desired ones, then those that are ours and desired no more.
pub(super) fn all(plan: &mut Plan, desired: &KernelState, observed: &Observed, ledger: &Ledger) {
    let Some(table) = observed.ipvs.table() else { return };
    let desired = &desired.ipvs.services;
    let leftover = table.services.keys().filter(|key| !desired.contains_key(*key));
    let wanted = desired.iter().map(|(key, service)| (*key, Some(service)));
    let wanted = wanted.chain(leftover.map(|key| (*key, None)));
    some(plan, wanted, observed, ledger);
}

/// These services, each as it is desired.
pub(super) fn some<'a>(
    plan: &mut Plan,
    wanted: impl Iterator<Item = (ServiceKey, Option<&'a Service>)>,
    observed: &Observed,
    ledger: &Ledger,
) {
    let Some(table) = observed.ipvs.table() else { return };
    // Without a ledger, what stands on our VIPs is ours.
    let marked = match ledger.claimed {
        true => BTreeSet::new(),
        false => observed.vips(),
    };
    let mut changes = Changes::default();
    for (key, service) in wanted {
        let present = table.services.get(&key);
        let is_recorded = ledger.services.contains(&key);
        // So is, whoever else has one, what has a mark that nobody but us may have.
        let is_marked = || match vip_of(&key) {
            Some(vip) => marked.contains(&vip),
            None => !ledger.claimed && is_for_probes(&key),
        };
        let is_ours = is_recorded || (present.is_some() && is_marked());
        match (service, present) {
            (Some(service), Some(present)) if present != service && !is_ours => {
                plan.foreign.insert(key);
                continue;
            }
            (Some(service), None) => changes.missing.push((key, fresh(key, service, observed))),
            (Some(service), Some(present)) => changes.take(diff_service(key, Some(service), Some(present))),
            (None, Some(_)) if is_ours => changes.deletions.push(IpvsChange::DeleteService { service: key }),
            (None, Some(_) | None) => continue,
        }
        if !is_recorded {
            plan.ledger.push(Entry::Service { key });
        }
    }
    let steps = changes.in_order(observed).into_iter();
    plan.steps
        .extend(steps.map(|change| (Stage::Ipvs, Change::Ipvs(change))));
}

/// The ledger's word that a service is over: it was read to be gone, and is not desired.
pub(super) fn settled(
    key: ServiceKey,
    desired: Option<&Service>,
    observed: &Observed,
    ledger: &Ledger,
) -> Option<Entry> {
    let table = observed.ipvs.table()?;
    let is_gone = desired.is_none() && !table.services.contains_key(&key);
    (is_gone && ledger.services.contains(&key)).then_some(Entry::NoService { key })
}

/// The changes by what they do: edits are few and felt at once, new services are many, deletions come last, so that
/// replacing the only destination leaves no moment without one.
#[derive(Default)]
struct Changes {
    edits: Vec<IpvsChange>,
    missing: Vec<(ServiceKey, Vec<IpvsChange>)>,
    deletions: Vec<IpvsChange>,
}

impl Changes {
    fn take(&mut self, changes: Vec<IpvsChange>) {
        for change in changes {
            match change {
                IpvsChange::DeleteDestination { .. } | IpvsChange::DeleteService { .. } => self.deletions.push(change),
                IpvsChange::AddService { .. }
                | IpvsChange::EditService { .. }
                | IpvsChange::AddDestination { .. }
                | IpvsChange::EditDestination { .. } => self.edits.push(change),
            }
        }
    }

    /// Services that the kernel has never shown come behind those that it lost: they are in no list of deleted ones.
    fn in_order(mut self, observed: &Observed) -> Vec<IpvsChange> {
        let place = |key: &ServiceKey| observed.order.get(key).copied();
        self.missing.sort_by_key(|(key, _)| std::cmp::Reverse(place(key)));
        let missing = self.missing.into_iter().flat_map(|(_, changes)| changes);
        self.edits.into_iter().chain(missing).chain(self.deletions).collect()
    }
}

/// A service that is not there.
fn fresh(key: ServiceKey, service: &Service, observed: &Observed) -> Vec<IpvsChange> {
    let mut changes = diff_service(key, Some(service), None);
    let serves = |vip| AddressKey::all_of(&observed.addresses, vip).any(|held| held.interface != LOOPBACK);
    let is_reached = vip_of(&key).is_none_or(serves);
    if is_reached || service.config.scheduler != Scheduler::new("mh") || service.destinations.len() < MANY_FOR_MH {
        return changes;
    }
    if let Some(IpvsChange::AddService { service: _, config }) = changes.first_mut() {
        *config = ServiceConfig {
            scheduler: Scheduler::new("rr"),
            flags: ServiceFlags::NONE,
            ..config.clone()
        };
    }
    changes.push(IpvsChange::EditService {
        service: key,
        config: service.config.clone(),
    });
    changes
}

#[cfg(test)]
mod tests;
