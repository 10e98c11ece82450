//! The changes of addresses: VIPs, and what FullNAT speaks from.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipvs::ServiceKey;

use super::{Change, Plan, Stage};
use crate::observed::Observed;
use crate::state::{AddressKey, KernelState};

/// `made` are interfaces that are made anew: nothing is on them.
pub(super) fn plan(plan: &mut Plan, desired: &KernelState, observed: &Observed, made: &BTreeSet<String>) {
    let served = served_vips(desired, observed, &plan.foreign);
    for (key, config) in &desired.addresses {
        if plan.foreign_tunnels.contains(&key.interface) {
            continue;
        }
        let present = observed.addresses.get(key).filter(|_| !made.contains(&key.interface));
        if present.is_some_and(|present| present.same_as(*config)) {
            continue;
        }
        if let Some(present) = present {
            plan.steps.push((
                down(key),
                Change::DeleteAddress {
                    key: key.clone(),
                    config: *present,
                },
            ));
        }
        if !key.is_of_host() && !served.contains(&key.address) {
            continue;
        }
        plan.steps.push((
            up(key),
            Change::AddAddress {
                key: key.clone(),
                config: *config,
            },
        ));
        if !key.is_of_host() {
            plan.steps
                .push((Stage::Announce, Change::Announce { key: key.clone() }));
        }
    }
    for (key, config) in &observed.addresses {
        if !desired.addresses.contains_key(key) && !made.contains(&key.interface) {
            plan.steps.push((
                down(key),
                Change::DeleteAddress {
                    key: key.clone(),
                    config: *config,
                },
            ));
        }
    }
}

/// Addresses for which at least one service can be programmed. One without any would only refuse its clients.
fn served_vips(desired: &KernelState, observed: &Observed, foreign: &BTreeSet<ServiceKey>) -> BTreeSet<IpAddr> {
    if observed.ipvs.table().is_none() {
        return BTreeSet::new();
    }
    let is_served =
        |(_, services): &(&IpAddr, &BTreeSet<ServiceKey>)| services.iter().any(|key| !foreign.contains(key));
    desired.serves.iter().filter(is_served).map(|(vip, _)| *vip).collect()
}

fn up(key: &AddressKey) -> Stage {
    if key.is_of_host() {
        Stage::HostAddressUp
    } else {
        Stage::DirectorAddressUp
    }
}

fn down(key: &AddressKey) -> Stage {
    if key.is_of_host() {
        Stage::HostAddressDown
    } else {
        Stage::DirectorAddressDown
    }
}
