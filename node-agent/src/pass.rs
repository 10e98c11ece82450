//! One pass: read what must be read, plan, write the intents, apply, read back, report. Synchronous, generic over the
//! kernel and the journal, with time as an argument: the agent's loop drives it, and so does the simulation.
//!
//! A pass is whole, or it is narrow: when nothing but services changed since a whole one that left nothing to do, only
//! these are planned, read back and reported. So the cost of a change follows the change.

mod audit;
mod execution;
mod narrow;
mod reading;
mod regime;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crds::{DirectorPart, PlacementSpec, PlacementStatus};
use ipvs::{DestinationKey, ServiceKey};
use jiff::Timestamp;

use self::audit::Audit;
use self::execution::Execution;
use self::narrow::Ground;
use self::reading::Stale;
use self::regime::Regime;
use crate::checks::Ways;
use crate::desired::{Desired, desired, keys, let_in, open};
use crate::kernel::{Kernel, KernelError};
use crate::ledger::{Entry, Journal, Ledger};
use crate::observed::{GuePorts, Ipvs, Observed};
use crate::plan::{Absence, Change, Plan, Stage, plan, settled};
use crate::report::{Evidence, report};
use crate::serving::{Fate, Now};
use crate::state::{KernelState, Sysctl};
use crate::view::{Placed, PlacementKey, Source, View};

/// One node: its kernel, its ledger, and the picture of it.
#[derive(Debug)]
pub struct Node<K, J> {
    kernel: K,
    journal: J,
    ledger: Ledger,
    observed: Observed,
    boot_id: String,
    /// What is asked of the node.
    view: View,
    /// What was asked in place of it when the last pass was made.
    changed: BTreeMap<PlacementKey, Option<Placed>>,
    /// What narrow passes stand on.
    ground: Option<Ground>,
    /// What must be read before the next plan.
    stale: Stale,
    /// Whether the kernel may be that of a fresh boot: then VIPs of remembered placements are asked for on the link first.
    booted: bool,
    statuses: BTreeMap<PlacementKey, PlacementStatus>,
    audit: Audit,
    /// The knobs that the last pass needed to know.
    knobs: BTreeSet<Sysctl>,
    /// What destinations are going through.
    regime: Regime,
    /// The ways of probes that are open since the last pass over everything.
    ways: Ways,
    /// The knobs that let their answers in.
    lets_in: BTreeSet<Sysctl>,
}

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The statuses after the read-back, as far as the pass reached.
    pub statuses: BTreeMap<PlacementKey, PlacementStatus>,
    /// How far that is.
    pub reach: Reach,
    /// Changes that the kernel took.
    pub done: Vec<Change>,
    /// Changes that it did not, and why.
    pub refusals: Vec<(Change, KernelError)>,
    /// Whether something differs still: the pass is to be repeated after a while.
    pub unfinished: bool,
}

/// Which Placements a pass reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// All of them: others are gone.
    #[default]
    Everything,
    /// Those that changed: all others are as they were.
    Changes,
}

/// What the kernel took, and what it did not.
type Executed = (Vec<Change>, Vec<(Change, KernelError)>);

impl<K: Kernel, J: Journal> Node<K, J> {
    /// A node about which nothing was read yet. `ledger` is what the journal held.
    pub fn new(kernel: K, journal: J, ledger: Ledger, boot_id: String) -> Self {
        let booted = !ledger.adopted;
        Self {
            regime: Regime::restored(&ledger),
            kernel,
            journal,
            ledger,
            observed: Observed::default(),
            boot_id,
            view: View::default(),
            changed: BTreeMap::new(),
            ground: None,
            stale: Stale::everything(),
            booted,
            statuses: BTreeMap::new(),
            audit: Audit::default(),
            knobs: BTreeSet::new(),
            ways: Ways::default(),
            lets_in: BTreeSet::new(),
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

    /// What is asked of the node.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// How probes may go by the way of clients' packets now.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// Takes everything that is asked of the node, in place of what was asked before.
    pub fn see(&mut self, mut view: View) {
        for (key, placed) in &mut view.placements {
            if let Some(former) = self.view.placements.get(key) {
                placed.serving.clone_from(&former.serving);
            }
        }
        if view.source != self.view.source {
            self.ground = None;
        }
        let former = std::mem::replace(&mut self.view, view);
        let now = &self.view.placements;
        let came = now.keys().filter(|key| !former.placements.contains_key(*key));
        let came: Vec<_> = came.map(|key| (key.clone(), None)).collect();
        let differs = |(key, placed): &(PlacementKey, Placed)| now.get(key) != Some(placed);
        let went = former.placements.into_iter().filter(differs);
        let went: Vec<_> = went.map(|(key, placed)| (key, Some(placed))).collect();
        for (key, placed) in came.into_iter().chain(went) {
            self.changed.entry(key).or_insert(placed);
        }
    }

    /// Takes one Placement as it is now; `None` = it is gone.
    pub fn place(&mut self, key: PlacementKey, placed: Option<Placed>) {
        let former = match placed {
            Some(mut placed) => {
                let known = self.view.placements.get(&key);
                placed.serving = known.map(|known| known.serving.clone()).unwrap_or_default();
                self.view.placements.insert(key.clone(), placed)
            }
            None => self.view.placements.remove(&key),
        };
        self.changed.entry(key).or_insert(former);
    }

    /// Whether the director part of this spec sends packets to a destination. Where IPVS cannot be read: whether it may, by an
    /// earlier agent's doing.
    pub fn sends_to(&self, spec: &PlacementSpec, destination: SocketAddr) -> bool {
        let Some(table) = self.observed.ipvs.table() else {
            return !self.ledger.services.is_empty();
        };
        let to = DestinationKey::new(destination.ip(), destination.port());
        let sends = |key: ServiceKey| {
            let known = table
                .services
                .get(&key)
                .and_then(|service| service.destinations.get(&to));
            known.is_some_and(|config| config.weight > 0)
        };
        let of_part = |part: &DirectorPart| {
            let vips = part.addresses.iter().filter_map(|entry| entry.address.parse().ok());
            let vips: Vec<IpAddr> = vips.collect();
            let mut services = part.services.iter();
            services.any(|service| keys(service, vips.iter().copied()).into_keys().any(sends))
        };
        spec.director.as_ref().is_some_and(of_part)
    }

    /// A status that was said before, by this agent or the one before it: its transition times are kept.
    pub fn said(&mut self, key: &PlacementKey, stored: &PlacementStatus) {
        if !self.statuses.contains_key(key) {
            self.statuses.insert(key.clone(), stored.clone());
        }
    }

    /// What the next pass would change, without changing anything.
    ///
    /// # Errors
    /// The kernel could not be read.
    pub fn preview(&mut self, now: Now) -> Result<Plan, KernelError> {
        self.read()?;
        self.regulate_unseen(now);
        let desired = self.desire();
        self.read_beside(&desired);
        match self.observed.nftables.error() {
            // Without nftables there is no table.
            None | Some(KernelError::RulesetUnsupported { message: _, modules: _ }) => {}
            Some(error) => return Err(error.clone()),
        }
        Ok(self.plan(&desired))
    }

    /// One pass over what is asked of this node.
    ///
    /// # Errors
    /// The kernel could not be read, or the ledger not be written: nothing was changed, and nothing is said.
    pub fn pass(&mut self, now: Now) -> Result<Outcome, KernelError> {
        if self.ground.is_some() && self.stale == Stale::default() {
            self.regulate(now)?;
            if let Some((ground, wanted)) = self.narrows() {
                return self.narrow_pass(ground, &wanted, now.clock);
            }
            self.ground = None;
            self.read()?;
        } else {
            self.ground = None;
            self.read()?;
            self.regulate(now)?;
        }
        let desired = self.desire();
        self.read_beside(&desired);
        let plan = self.plan(&desired);
        self.claim(plan.ledger)?;
        let executed = self.execute(plan.steps, &desired.state);
        self.read_back(&executed)?;
        self.conclude(executed, now.clock)
    }

    /// The second half of a pass: what is there now, and what is to be said of it.
    fn conclude(&mut self, executed: Executed, now: Timestamp) -> Result<Outcome, KernelError> {
        let desired = self.desire();
        let waits = self.read_beside(&desired);
        let residue = self.plan(&desired);
        self.settle(&desired)?;
        self.ways = open(&desired.ways, &desired.state, &self.observed, &residue);
        let knobs = let_in(&desired.state).map(|(sysctl, _)| sysctl);
        // The greater of the two counts.
        let each = knobs.flat_map(|sysctl| [sysctl.clone(), Sysctl::of_all(sysctl.knob)]);
        self.lets_in = each.collect();
        let (done, refusals) = executed;
        let evidence = Evidence {
            desired: &desired,
            observed: &self.observed,
            residue: &residue,
            refusals: &refusals,
            boot_id: &self.boot_id,
        };
        self.statuses = report(evidence, &self.view.placements, &self.statuses, now);
        self.changed.clear();
        let unfinished = waits || !residue.steps.is_empty() || !refusals.is_empty() || self.is_blind(&desired);
        if !unfinished && residue.is_empty() {
            self.ground = self.found(desired);
        }
        Ok(Outcome {
            statuses: self.statuses.clone(),
            reach: Reach::Everything,
            done,
            refusals,
            unfinished,
        })
    }

    fn is_blind(&self, desired: &Desired) -> bool {
        let observed = &self.observed;
        matches!(observed.ipvs, Ipvs::Failed(_))
            || observed.blind.is_some()
            || observed.missing_knob(&desired.state).is_some()
            || matches!(observed.timeouts, Some(Err(_)))
            || matches!(observed.gue_ports, GuePorts::Failed(_))
            || observed.lacks_ruleset(&desired.state)
            || !desired.problems.is_empty()
    }

    fn plan(&self, desired: &Desired) -> Plan {
        plan(&desired.state, &self.observed, &self.ledger, &absence(&self.view))
    }

    fn desire(&mut self) -> Desired {
        if self.view.source == Source::Api {
            // The operator has seen to it that the VIP is nowhere else.
            self.observed.facts.answered.clear();
        }
        desired(&self.view, &self.observed.facts)
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
        if let Err(error) = self.journal.tidy(&self.ledger) {
            tracing::warn!(%error, "the ledger cannot be written anew; it goes on growing");
        }
        Ok(())
    }

    /// Stage by stage; what depends on a refused change is left out.
    fn execute(&mut self, steps: Vec<(Stage, Change)>, desired: &KernelState) -> Executed {
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

    /// Strikes from the ledger what is over, and says once that a pass over a complete list was whole.
    fn settle(&mut self, desired: &Desired) -> Result<(), KernelError> {
        let mut entries = settled(&desired.state, &self.observed, &self.ledger, &absence(&self.view));
        let whole = match self.observed.ipvs {
            Ipvs::Read(_) => true,
            Ipvs::Unread => !self.needs_ipvs(),
            Ipvs::Failed(_) => false,
        };
        if !self.ledger.adopted && whole && self.view.is_complete() {
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
        let servings = view.placements.values().flat_map(|placed| &placed.serving.fates);
        let out = servings.filter(|(_, fate)| **fate == Fate::Out);
        Absence::IsIgnorance {
            dismissed: out.map(|(place, _)| *place).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
