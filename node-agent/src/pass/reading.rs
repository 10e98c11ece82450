//! What a pass reads: what is stale, what matters for what is desired, and what it changed.

use std::collections::BTreeSet;

use ipvs::{ServiceKey, Timeouts};

use super::{Executed, Node};
use crate::desired::{Desired, address, carrier};
use crate::kernel::{Kernel, KernelError};
use crate::ledger::Journal;
use crate::observed::{Freshness, GuePorts, Ipvs};
use crate::plan::{Change, has_retired};
use crate::state::{AddressKey, Sysctl};
use crate::view::Source;

/// Which parts of the picture are not to be trusted; none of them by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) network: bool,
    pub(super) sysctls: bool,
    pub(super) ipvs: bool,
    pub(super) gue_ports: bool,
    pub(super) nftables: bool,
    pub(super) firewalls: bool,
}

/// So many services are read back as a whole table.
const MANY: usize = 64;

impl Stale {
    /// Nothing was read yet.
    pub(super) fn everything() -> Self {
        Self {
            network: true,
            sysctls: true,
            ipvs: true,
            gue_ports: true,
            nftables: true,
            firewalls: true,
        }
    }
}

impl<K: Kernel, J: Journal> Node<K, J> {
    /// Reads what is stale.
    pub(super) fn read(&mut self) -> Result<(), KernelError> {
        if self.stale.network {
            self.observed.read_network(&mut self.kernel)?;
            self.stale.network = false;
        }
        let failed = matches!(self.observed.ipvs, Ipvs::Failed(_));
        if self.needs_ipvs() && (self.stale.ipvs || failed) {
            self.observed.read_ipvs(&mut self.kernel, &self.ledger.services);
            self.stale.ipvs = false;
        }
        if self.stale.nftables || self.observed.nftables.error().is_some() {
            self.observed.read_nftables(&mut self.kernel);
            self.stale.nftables = false;
        }
        if self.stale.firewalls {
            self.observed.read_firewalls(&mut self.kernel);
            self.stale.firewalls = false;
        }
        if self.booted && self.view.source == Source::Disk {
            self.ask_the_link();
        }
        Ok(())
    }

    /// Reads the table of an earlier agent, which tells who serves, before the first pass does. What is new to be probed and
    /// is not in it is not taken for up.
    pub fn meet(&mut self) {
        if matches!(self.observed.ipvs, Ipvs::Unread) && self.needs_ipvs() {
            self.observed.read_ipvs(&mut self.kernel, &self.ledger.services);
        }
    }

    /// Reads what is only worth knowing for what is desired. Says whether connections of former FullNAT are waited for.
    pub(super) fn read_beside(&mut self, desired: &Desired) -> bool {
        self.read_settings(desired);
        self.read_gue_ports(desired);
        self.observed.connections = None;
        let waits = has_retired(&desired.state, &self.observed);
        if waits {
            self.observed.read_connections(&mut self.kernel);
        }
        waits
    }

    /// Reads what is asked for, and may have to be given back, of the knobs and of the timeouts; `all`'s knobs beside them.
    fn read_settings(&mut self, desired: &Desired) {
        let asked = desired.state.sysctls.keys();
        let beside = asked.clone().filter(|sysctl| sysctl.interface.is_some());
        let beside = beside.map(|sysctl| Sysctl::of_all(sysctl.knob));
        let given = self.ledger.sysctls.keys();
        self.knobs = asked.chain(given).cloned().chain(beside).collect();
        let freshness = match self.stale.sysctls {
            true => Freshness::Anew,
            false => Freshness::Kept,
        };
        self.observed.read_sysctls(&mut self.kernel, &self.knobs, freshness);
        self.stale.sysctls = self.observed.blind.is_some();
        let is_asked = desired.state.timeouts != Timeouts::default() || self.ledger.timeouts.is_some();
        self.observed.timeouts = is_asked.then(|| self.kernel.timeouts());
    }

    /// Two questions for each; where they are the greater part of the table, the first ones are one dump.
    fn read_services_back(&mut self, services: BTreeSet<ServiceKey>) {
        let known = self.observed.ipvs.table().map_or(0, |table| table.services.len());
        if services.len() >= MANY.max(known / 2) {
            self.observed.read_ipvs(&mut self.kernel, &self.ledger.services);
            return;
        }
        for key in services {
            let _: bool = self.observed.read_service(&mut self.kernel, key);
        }
    }

    /// A look at the ports of GUE loads the module: a node without any is left alone.
    fn read_gue_ports(&mut self, desired: &Desired) {
        let needed = !desired.state.unwrapping.ports.is_empty() || !self.ledger.gue_ports.is_empty();
        if !needed {
            self.observed.gue_ports = GuePorts::Unread;
            self.stale.gue_ports = false;
        }
        match &self.observed.gue_ports {
            GuePorts::Unread if !needed => {}
            GuePorts::Read(_) if !self.stale.gue_ports => {}
            GuePorts::Unread | GuePorts::Read(_) | GuePorts::Failed(_) => {
                self.observed.read_gue_ports(&mut self.kernel);
                self.stale.gue_ports = false;
            }
        }
    }

    /// A look at the family loads the module: a node that is no director is left alone.
    pub(super) fn needs_ipvs(&self) -> bool {
        // Before anything was claimed, any mark may belong to services of a lost ledger.
        let was_director = || {
            let mut marked = self.observed.addresses.keys();
            marked.any(|key| !key.is_of_host() || !self.ledger.claimed)
        };
        self.view
            .placements
            .values()
            .any(|placed| placed.spec.director.is_some())
            || !self.ledger.services.is_empty()
            || was_director()
    }

    /// After a boot the remembered VIPs may be somebody else's by now: each is asked for before it is added.
    fn ask_the_link(&mut self) {
        let parts = self
            .view
            .placements
            .values()
            .filter_map(|placed| placed.spec.director.as_ref());
        for entry in parts.flat_map(|part| &part.addresses) {
            let Ok(vip) = address(&entry.address) else { continue };
            let Ok(interface) = carrier(entry, vip, &self.observed.facts) else {
                continue;
            };
            let held = self.observed.addresses.contains_key(&AddressKey {
                interface: interface.clone(),
                address: vip,
            });
            // When nobody can be asked, nobody is known to be silent.
            if !held && self.kernel.answered(&interface, vip).unwrap_or(true) {
                self.observed.facts.answered.insert(vip);
            } else {
                self.observed.facts.answered.remove(&vip);
            }
        }
    }

    /// Reads again what the changes touched, and nothing else.
    pub(super) fn read_back(&mut self, executed: &Executed) -> Result<(), KernelError> {
        let (done, refusals) = executed;
        let touched = done.iter().chain(refusals.iter().map(|(change, _)| change));
        let mut services = BTreeSet::new();
        let mut transactions = Vec::new();
        let (mut network, mut sysctls) = (false, false);
        for change in touched {
            match change {
                Change::SetSysctl { .. } | Change::RestoreSysctl { .. } => sysctls = true,
                Change::AddAddress { .. } | Change::DeleteAddress { .. } => network = true,
                Change::Tunnel(change) => {
                    network = true;
                    // A device made anew has the default values.
                    sysctls |= change.makes().is_some();
                    self.stale.gue_ports = true;
                }
                // The timeouts are read in every pass, where they matter.
                Change::Announce { .. } | Change::SetTimeouts { .. } => {}
                Change::GrowRuleset(transaction) | Change::ShrinkRuleset(transaction) => transactions.push(transaction),
                Change::Ipvs(change) => {
                    services.insert(change.service());
                }
            }
        }
        if network {
            self.observed.read_network(&mut self.kernel)?;
        }
        self.stale.sysctls |= sysctls;
        if !transactions.is_empty() {
            let is_ruleset = |change: &Change| matches!(change, Change::GrowRuleset(_) | Change::ShrinkRuleset(_));
            let refused = refusals.iter().any(|(change, _)| is_ruleset(change));
            self.observed
                .read_nftables_back(&mut self.kernel, &transactions, refused);
        }
        self.read_services_back(services);
        Ok(())
    }
}
