//! What is noticed between passes: what the kernel tells, the cheap look, and the audit.

use std::collections::BTreeSet;
use std::mem::take;

use ipvs::ServiceKey;

use super::Node;
use crate::kernel::notify::Committed;
use crate::kernel::{Kernel, KernelError};
use crate::ledger::Journal;
use crate::observed::{Count, Freshness, GuePorts, Ipvs};

/// How far the running audit is.
#[derive(Clone, Debug, Default)]
pub(super) struct Audit {
    /// The services that it has still to read.
    rest: Vec<ServiceKey>,
    /// In so many slices. A node with few services reads them in the first ones, and waits for the next round.
    slices: usize,
    /// What the services read so far have of source ports.
    source_ports: Count,
}

impl<K: Kernel, J: Journal> Node<K, J> {
    /// Links, addresses or routes changed, says the kernel.
    pub fn network_changed(&mut self) {
        self.stale.network = true;
        // An interface that comes back has the default values.
        self.stale.sysctls = true;
    }

    /// Somebody committed a transaction, says nftables. Says whether it matters: our own do not come back as news.
    pub fn ruleset_committed(&mut self, committed: Committed) -> bool {
        let Committed {
            ours,
            firewalls,
            generation,
        } = committed;
        let is_news = ours && self.observed.is_news(generation);
        self.stale.nftables |= is_news;
        self.stale.firewalls |= firewalls;
        is_news || firewalls
    }

    /// The cheap look: whether the number of services is not the one we know of, or one of ours is not as we know it. Then
    /// the table is to be read again.
    pub fn ipvs_differs(&mut self) -> bool {
        let Ipvs::Read(table) = &self.observed.ipvs else {
            return false;
        };
        let known = table
            .services
            .keys()
            .filter(|key| key.family() == ipvs::Family::Ipv4)
            .count();
        // Who flushes and puts in as many of his own changes no number; but a flush takes every service, so one tells.
        let mut ours = self.ledger.services.iter();
        let witness = ours.find_map(|key| Some((*key, table.services.get(key)?.config.clone())));
        let differs = self.kernel.service_count().is_ok_and(|count| count != known)
            || witness.is_some_and(|(key, config)| self.kernel.service(key).is_ok_and(|read| read != Some(config)));
        self.stale.ipvs |= differs;
        differs
    }

    /// The cheap look, too: whether a knob is not as we know it that lets in what real servers answer to probes by the path. The
    /// kernel tells of none, and until the next audit all of them would be taken for dead.
    pub fn answers_are_shut_out(&mut self) -> bool {
        let (kernel, observed) = (&mut self.kernel, &self.observed);
        let mut knobs = self.lets_in.iter();
        let differs = knobs.any(|knob| kernel.sysctl(knob).is_ok_and(|read| read != observed.sysctl(knob)));
        self.stale.sysctls |= differs;
        differs
    }

    /// One slice of the audit, of `slices` that make a round. The first slice of a round reads the services and the
    /// sysctls; each one reads its share of the destinations. Says whether the picture was wrong.
    pub fn audit(&mut self, slices: usize) -> bool {
        let mut differs = false;
        if self.audit.slices == 0 {
            self.audit.slices = slices.max(1);
            differs |= self.audit_beside_services();
            self.audit_services();
            self.audit.source_ports = Count::new(&self.observed);
        }
        let share = self.audit.rest.len().div_ceil(self.audit.slices);
        self.audit.slices -= 1;
        let from = self.audit.rest.len() - share;
        for key in self.audit.rest.split_off(from) {
            differs |= self.observed.read_service(&mut self.kernel, key);
            self.audit.source_ports.add(&mut self.kernel, &self.observed, key);
        }
        if self.audit.rest.is_empty() && self.audit.slices == 0 {
            differs |= self.observed.learn_source_ports(take(&mut self.audit.source_ports));
        }
        if differs {
            self.ground = None;
        }
        differs
    }

    fn audit_beside_services(&mut self) -> bool {
        // The table is the greater part of the picture, and is none of this: it is set aside, not copied.
        let (ipvs, order) = (take(&mut self.observed.ipvs), take(&mut self.observed.order));
        let before = self.observed.clone();
        let _: Result<(), KernelError> = self.observed.read_network(&mut self.kernel);
        self.observed
            .read_sysctls(&mut self.kernel, &self.knobs, Freshness::Anew);
        // The kernel has no notifications of these.
        self.audit_gue_ports();
        if self.observed.timeouts.is_some() {
            self.observed.timeouts = Some(self.kernel.timeouts());
        }
        self.observed.read_nftables(&mut self.kernel);
        self.observed.read_firewalls(&mut self.kernel);
        let differs = self.observed != before;
        (self.observed.ipvs, self.observed.order) = (ipvs, order);
        differs
    }

    fn audit_gue_ports(&mut self) {
        match self.observed.gue_ports {
            GuePorts::Unread => {}
            GuePorts::Read(_) | GuePorts::Failed(_) => self.observed.read_gue_ports(&mut self.kernel),
        }
    }

    fn audit_services(&mut self) {
        let Ipvs::Read(table) = &self.observed.ipvs else { return };
        let mut all: BTreeSet<ServiceKey> = table.services.keys().copied().collect();
        let Ok(read) = self.kernel.services() else { return };
        self.observed.remember_order(&read, &self.ledger.services);
        all.extend(read.into_iter().map(|(key, _)| key));
        self.audit.rest = all.into_iter().collect();
    }
}
