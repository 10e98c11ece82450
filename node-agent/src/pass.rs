//! One pass: read what must be read, plan, write the intents, apply, read back, report. Synchronous, generic over the
//! kernel and the journal, with time as an argument: the agent's loop drives it, and so does the simulation.

mod execution;

use std::collections::{BTreeMap, BTreeSet};

use crds::PlacementStatus;
use ipvs::{ServiceKey, Timeouts};
use jiff::Timestamp;

use self::execution::Execution;
use crate::desired::{Desired, address, carrier, desired};
use crate::kernel::notify::Committed;
use crate::kernel::{Kernel, KernelError};
use crate::ledger::{Entry, Journal, Ledger};
use crate::observed::{Freshness, GuePorts, Ipvs, Observed};
use crate::plan::{Absence, Change, Plan, Stage, has_retired, plan, settled};
use crate::report::{Evidence, report};
use crate::state::{AddressKey, KernelState, Sysctl};
use crate::view::{PlacementKey, Source, View};

/// One node: its kernel, its ledger, and the picture of it.
#[derive(Debug)]
pub struct Node<K, J> {
    kernel: K,
    journal: J,
    ledger: Ledger,
    observed: Observed,
    boot_id: String,
    /// What must be read before the next plan.
    stale: Stale,
    /// Whether the kernel may be that of a fresh boot: then VIPs of remembered placements are asked for on the link first.
    booted: bool,
    statuses: BTreeMap<PlacementKey, PlacementStatus>,
    audit: Audit,
    /// The knobs that the last pass needed to know.
    knobs: BTreeSet<Sysctl>,
}

/// Which parts of the picture are not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stale {
    network: bool,
    sysctls: bool,
    ipvs: bool,
    gue_ports: bool,
    nftables: bool,
    firewalls: bool,
}

/// How far the running audit is.
#[derive(Clone, Debug, Default)]
struct Audit {
    /// The services that it has still to read.
    rest: Vec<ServiceKey>,
    /// In so many slices. A node with few services reads them in the first ones, and waits for the next round.
    slices: usize,
}

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The status of every Placement, after the read-back.
    pub statuses: BTreeMap<PlacementKey, PlacementStatus>,
    /// Changes that the kernel took.
    pub done: Vec<Change>,
    /// Changes that it did not, and why.
    pub refusals: Vec<(Change, KernelError)>,
    /// Whether something differs still: the pass is to be repeated after a while.
    pub unfinished: bool,
}

impl<K: Kernel, J: Journal> Node<K, J> {
    /// A node about which nothing was read yet. `ledger` is what the journal held.
    pub fn new(kernel: K, journal: J, ledger: Ledger, boot_id: String) -> Self {
        let booted = !ledger.adopted;
        Self {
            kernel,
            journal,
            ledger,
            observed: Observed::default(),
            boot_id,
            stale: Stale {
                network: true,
                sysctls: true,
                ipvs: true,
                gue_ports: true,
                nftables: true,
                firewalls: true,
            },
            booted,
            statuses: BTreeMap::new(),
            audit: Audit::default(),
            knobs: BTreeSet::new(),
        }
    }

    /// What outlives the process: the kernel, and the journal.
    pub fn into_parts(self) -> (K, J) {
        (self.kernel, self.journal)
    }

    /// The kernel, for the shell that shares it.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// The picture.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Statuses that were said before, by this agent or the one before it: their transition times are kept.
    pub fn said(&mut self, stored: &BTreeMap<PlacementKey, PlacementStatus>) {
        for (key, status) in stored {
            self.statuses.entry(key.clone()).or_insert_with(|| status.clone());
        }
    }

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

    /// One slice of the audit, of `slices` that make a round. The first slice of a round reads the services and the
    /// sysctls; each one reads its share of the destinations. Says whether the picture was wrong.
    pub fn audit(&mut self, slices: usize) -> bool {
        let before = self.observed.clone();
        if self.audit.slices == 0 {
            self.audit.slices = slices.max(1);
            let _: Result<(), KernelError> = self.observed.read_network(&mut self.kernel);
            self.observed
                .read_sysctls(&mut self.kernel, &self.knobs, Freshness::Anew);
            // The kernel has no notifications of these.
            self.audit_gue_ports();
            self.observed.read_nftables(&mut self.kernel);
            self.observed.read_firewalls(&mut self.kernel);
            self.audit_services();
        }
        let share = self.audit.rest.len().div_ceil(self.audit.slices);
        self.audit.slices -= 1;
        let from = self.audit.rest.len() - share;
        for key in self.audit.rest.split_off(from) {
            self.observed.read_service(&mut self.kernel, key);
        }
        // Another order of the same table is no news.
        self.observed
            != Observed {
                order: self.observed.order.clone(),
                ..before
            }
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

    /// What the next pass would change, without changing anything.
    ///
    /// # Errors
    /// The kernel could not be read.
    pub fn preview(&mut self, view: &View) -> Result<Plan, KernelError> {
        self.read(view)?;
        let desired = self.desire(view);
        self.read_beside(&desired);
        match self.observed.nftables.error() {
            // Without nftables there is no table.
            None | Some(KernelError::RulesetUnsupported { message: _, modules: _ }) => {}
            Some(error) => return Err(error.clone()),
        }
        Ok(plan(&desired.state, &self.observed, &self.ledger, absence(view)))
    }

    /// One whole pass over what is asked of this node.
    ///
    /// # Errors
    /// The kernel could not be read, or the ledger not be written: nothing was changed, and nothing is said.
    pub fn pass(&mut self, view: &View, now: Timestamp) -> Result<Outcome, KernelError> {
        self.read(view)?;
        let desired = self.desire(view);
        self.read_beside(&desired);
        let plan_now = plan(&desired.state, &self.observed, &self.ledger, absence(view));
        self.claim(plan_now.ledger)?;
        let (done, refusals) = self.execute(plan_now.steps, &desired.state);
        self.read_back(&done, &refusals)?;
        let desired = self.desire(view);
        let waits = self.read_beside(&desired);
        let residue = plan(&desired.state, &self.observed, &self.ledger, absence(view));
        self.settle(&desired, view)?;
        let evidence = Evidence {
            view,
            desired: &desired,
            observed: &self.observed,
            residue: &residue,
            refusals: &refusals,
            boot_id: &self.boot_id,
        };
        self.statuses = report(evidence, &self.statuses, now);
        let unfinished = waits || !residue.steps.is_empty() || !refusals.is_empty() || self.is_blind(&desired);
        Ok(Outcome {
            statuses: self.statuses.clone(),
            done,
            refusals,
            unfinished,
        })
    }

    fn is_blind(&self, desired: &Desired) -> bool {
        let observed = &self.observed;
        matches!(observed.ipvs, Ipvs::Failed(_))
            || observed.blind.is_some()
            || matches!(observed.timeouts, Some(Err(_)))
            || matches!(observed.gue_ports, GuePorts::Failed(_))
            || observed.lacks_ruleset(&desired.state)
            || !desired.problems.is_empty()
    }

    /// Reads what is stale.
    fn read(&mut self, view: &View) -> Result<(), KernelError> {
        if self.stale.network {
            self.observed.read_network(&mut self.kernel)?;
            self.stale.network = false;
        }
        let failed = matches!(self.observed.ipvs, Ipvs::Failed(_));
        if self.needs_ipvs(view) && (self.stale.ipvs || failed) {
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
        if self.booted && view.source == Source::Disk {
            self.ask_the_link(view);
        }
        Ok(())
    }

    /// Reads what is only worth knowing for what is desired. Says whether connections of former FullNAT are waited for.
    fn read_beside(&mut self, desired: &Desired) -> bool {
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

    /// A look at the ports of GUE loads the module: a node without any is left alone.
    fn read_gue_ports(&mut self, desired: &Desired) {
        let needed = !desired.state.unwrapping.ports.is_empty() || !self.ledger.gue_ports.is_empty();
        if !needed {
            self.observed.gue_ports = GuePorts::Unread;
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
    fn needs_ipvs(&self, view: &View) -> bool {
        // Before anything was claimed, any mark may belong to services of a lost ledger.
        let was_director = || {
            let mut marked = self.observed.addresses.keys();
            marked.any(|key| !key.is_of_host() || !self.ledger.claimed)
        };
        view.placements.values().any(|placed| placed.spec.director.is_some())
            || !self.ledger.services.is_empty()
            || was_director()
    }

    /// After a boot the remembered VIPs may be somebody else's by now: each is asked for before it is added.
    fn ask_the_link(&mut self, view: &View) {
        let parts = view
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

    fn desire(&mut self, view: &View) -> Desired {
        if view.source == Source::Api {
            // The operator has seen to it that the VIP is nowhere else.
            self.observed.facts.answered.clear();
        }
        desired(view, &self.observed.facts)
    }

    /// The intents; and once, before the first change, that all older marks have been looked at.
    fn claim(&mut self, mut intents: Vec<Entry>) -> Result<(), KernelError> {
        if !self.ledger.claimed {
            let is_marked = !self.observed.addresses.is_empty();
            match &self.observed.ipvs {
                Ipvs::Failed(error) if is_marked && *error != KernelError::ModuleMissing => return Err(error.clone()),
                Ipvs::Failed(_) | Ipvs::Unread | Ipvs::Read(_) => intents.push(Entry::Claimed),
            }
        }
        self.record(&intents)
    }

    fn record(&mut self, entries: &[Entry]) -> Result<(), KernelError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.journal
            .append(entries)
            .map_err(|error| KernelError::Io(format!("the ledger cannot be written: {error}")))?;
        entries.iter().for_each(|entry| self.ledger.record(entry));
        Ok(())
    }

    /// Stage by stage; what depends on a refused change is left out.
    fn execute(
        &mut self,
        steps: Vec<(Stage, Change)>,
        desired: &KernelState,
    ) -> (Vec<Change>, Vec<(Change, KernelError)>) {
        let mut execution = Execution::new(desired, &self.observed);
        let mut rest = steps.into_iter().peekable();
        while let Some((stage, first)) = rest.next() {
            let mut changes = vec![first];
            while let Some((_, change)) = rest.next_if(|(next, _)| *next == stage) {
                changes.push(change);
            }
            let changes = execution.admit(stage, changes);
            let results = self.kernel.apply(&changes);
            execution.note(stage, changes, results);
        }
        (execution.done, execution.refusals)
    }

    /// Reads again what the changes touched, and nothing else.
    fn read_back(&mut self, done: &[Change], refusals: &[(Change, KernelError)]) -> Result<(), KernelError> {
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
        for key in services {
            self.observed.read_service(&mut self.kernel, key);
        }
        Ok(())
    }

    /// Strikes from the ledger what is over, and says once that a pass over a complete list was whole.
    fn settle(&mut self, desired: &Desired, view: &View) -> Result<(), KernelError> {
        let mut entries = settled(&desired.state, &self.observed, &self.ledger, absence(view));
        let whole = match self.observed.ipvs {
            Ipvs::Read(_) => true,
            Ipvs::Unread => !self.needs_ipvs(view),
            Ipvs::Failed(_) => false,
        };
        if !self.ledger.adopted && whole && view.is_complete() {
            entries.push(Entry::Adopted);
        }
        self.record(&entries)
    }
}

/// Whether absence from this view may be believed.
pub fn absence(view: &View) -> Absence {
    if view.is_complete() {
        Absence::IsBelieved
    } else {
        Absence::IsIgnorance
    }
}

#[cfg(test)]
mod tests;
