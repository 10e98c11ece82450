//! What depends on what within a pass: a change whose ground was refused is left out, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs::{ServiceKey, Table};

use crate::kernel::KernelError;
use crate::observed::Observed;
use crate::plan::{Change, Stage};
use crate::ruleset::Ruleset;
use crate::state::KernelState;

/// What a running pass has done, and what it must therefore leave out.
#[derive(Debug)]
pub(super) struct Execution<'a> {
    pub(super) done: Vec<Change>,
    pub(super) refusals: Vec<(Change, KernelError)>,
    /// Which services make it worth adding an address.
    serves: &'a BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    /// What is desired of nftables.
    ruleset: &'a Ruleset,
    /// It could not be read or set.
    open: bool,
    /// The table before the pass.
    table: Option<&'a Table>,
    /// Services that the pass added.
    added: BTreeSet<ServiceKey>,
    /// A host sysctl could not be read or set.
    loud: bool,
    /// Tunnel devices that could not be made, or not be made to let pass.
    unready: BTreeSet<String>,
    /// A host's VIP could not be taken back.
    kept_host_address: bool,
}

impl<'a> Execution<'a> {
    /// Nothing is done yet.
    pub(super) fn new(desired: &'a KernelState, observed: &'a Observed) -> Self {
        Self {
            done: Vec::new(),
            refusals: Vec::new(),
            serves: &desired.serves,
            ruleset: &desired.ruleset,
            open: observed.lacks_ruleset(desired),
            table: observed.ipvs.table(),
            added: BTreeSet::new(),
            loud: observed.blind.is_some(),
            unready: BTreeSet::new(),
            kept_host_address: false,
        }
    }

    /// The changes that may happen; the others are refused here, with the reason.
    pub(super) fn admit(&mut self, stage: Stage, changes: Vec<Change>) -> Vec<Change> {
        let (admitted, held): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .map(|change| (self.obstacle(stage, &change), change))
            .partition(|(o, _)| o.is_none());
        self.refusals.extend(
            held.into_iter()
                .filter_map(|(why, change)| Some((change, KernelError::Skipped(why?)))),
        );
        admitted.into_iter().map(|(_, change)| change).collect()
    }

    fn obstacle(&self, stage: Stage, change: &Change) -> Option<&'static str> {
        match stage {
            Stage::HostAddressUp if self.loud => {
                Some("an ARP sysctl could not be set, and the host would answer for the VIP")
            }
            Stage::TunnelSysctls | Stage::HostAddressUp if self.is_on_unready_device(change) => {
                Some("its tunnel device is not there, or does not let pass")
            }
            Stage::SysctlRestore if self.kept_host_address => {
                Some("a VIP is still on lo, and the host would answer for it")
            }
            Stage::HostAddressUp | Stage::DirectorAddressUp if self.is_open(change) => {
                Some("the packet filter that belongs to it could not be set")
            }
            Stage::DirectorAddressUp if !self.serves(change) => Some("none of its services could be programmed"),
            Stage::Announce if !self.added(change) => Some("the address is not there"),
            Stage::DirectorAddressDown
            | Stage::RulesetUp
            | Stage::RulesetDown
            | Stage::HostSysctls
            | Stage::TunnelUp
            | Stage::TunnelSysctls
            | Stage::HostAddressUp
            | Stage::DirectorSysctls
            | Stage::Ipvs
            | Stage::DirectorAddressUp
            | Stage::Announce
            | Stage::HostAddressDown
            | Stage::TunnelDown
            | Stage::SysctlRestore => None,
        }
    }

    fn is_on_unready_device(&self, change: &Change) -> bool {
        device_of(change).is_some_and(|name| self.unready.contains(name))
    }

    /// Whether the address would be there without the packet filter and address translation that is asked for with it.
    fn is_open(&self, change: &Change) -> bool {
        let Change::AddAddress { key, config: _ } = change else {
            return false;
        };
        self.open && self.ruleset.concerns(key.address)
    }

    /// Whether the table holds a service of the VIP that this change adds.
    fn serves(&self, change: &Change) -> bool {
        let Change::AddAddress { key, config: _ } = change else {
            return true;
        };
        let services = self.serves.get(&key.address);
        services.is_some_and(|services| services.iter().any(|service| self.is_programmed(service)))
    }

    fn is_programmed(&self, service: &ServiceKey) -> bool {
        let had = self.table.is_some_and(|table| table.services.contains_key(service));
        had || self.added.contains(service)
    }

    fn added(&self, change: &Change) -> bool {
        let Change::Announce { key } = change else { return true };
        self.done
            .iter()
            .any(|done| matches!(done, Change::AddAddress { key: added, config: _ } if added == key))
    }

    pub(super) fn note(&mut self, stage: Stage, changes: Vec<Change>, results: Vec<Result<(), KernelError>>) {
        for (change, result) in changes.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    if let Change::Ipvs(ipvs::Change::AddService { service, config: _ }) = &change {
                        self.added.insert(*service);
                    }
                    self.done.push(change);
                }
                Err(error) => {
                    self.loud |= stage == Stage::HostSysctls;
                    if [Stage::TunnelUp, Stage::TunnelSysctls].contains(&stage) {
                        self.unready.extend(device_of(&change).map(str::to_owned));
                    }
                    self.open |= stage == Stage::RulesetUp;
                    self.kept_host_address |= stage == Stage::HostAddressDown;
                    self.refusals.push((change, error));
                }
            }
        }
    }
}

/// The interface that a change of a host's tunnel devices is about.
fn device_of(change: &Change) -> Option<&str> {
    match change {
        Change::SetSysctl { sysctl, value: _ } | Change::RestoreSysctl { sysctl, value: _ } => {
            sysctl.interface.as_deref()
        }
        Change::AddAddress { key, config: _ } | Change::DeleteAddress { key, config: _ } | Change::Announce { key } => {
            Some(&key.interface)
        }
        Change::Tunnel(change) => change.device(),
        Change::Ipvs(_) | Change::SetTimeouts { timeouts: _ } | Change::GrowRuleset(_) | Change::ShrinkRuleset(_) => {
            None
        }
    }
}
