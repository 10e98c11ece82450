//! An agent's process: the product's passes, and around them what its shell does, one step at a time. What the shell
//! does is written again here, because the real one waits for sockets and clocks: see `node_agent::{agent, api, placements}`.

use crate::api::{Api, Refused};
use crate::machines::Machine;
use crate::world::World;
use crds::{Placement, PlacementStatus};
use node_agent::kernel::fake::FakeKernel;
use node_agent::ledger::Entry;
use node_agent::pass::{Node, Reach};
use node_agent::serving::Now;
use node_agent::view::{Placed, PlacementKey, Source, View};
use operator::Key;
use std::collections::BTreeMap;

/// The process.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) node: Node<FakeKernel, Vec<Entry>>,
    pub(crate) node_uid: String,
    /// What the passes go by.
    pub(crate) view: View,
    /// What was on disk when it started: also what a list is measured against.
    remembered: View,
    /// How much of the Placements' log it has seen; nothing before the first list.
    seen: Option<usize>,
    /// The statuses that the API server has, as far as is known here.
    stored: BTreeMap<PlacementKey, PlacementStatus>,
    /// The statuses of the last pass.
    latest: BTreeMap<PlacementKey, PlacementStatus>,
}

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deeds {
    /// What the kernel executed, in words.
    pub(crate) lines: Vec<String>,
    /// The process died in it.
    pub(crate) died: bool,
    /// All that was asked for is there.
    pub(crate) is_whole: bool,
}

impl Agent {
    pub(crate) fn new(node: Node<FakeKernel, Vec<Entry>>, node_uid: String, remembered: View) -> Self {
        Self {
            node,
            node_uid,
            view: View::default(),
            remembered,
            seen: None,
            stored: BTreeMap::new(),
            latest: BTreeMap::new(),
        }
    }

    /// No list came in time: what was remembered is taken.
    pub(crate) fn take_from_disk(&mut self) -> bool {
        let is_waiting = self.seen.is_none() && self.view.source == Source::Nothing;
        if is_waiting {
            self.view = self.remembered.clone();
        }
        is_waiting && self.view.source == Source::Disk
    }

    /// Whether it knows all there is to know.
    pub(crate) fn is_current(&self, api: &Api) -> bool {
        self.seen == Some(api.placements.log.len())
    }

    pub(crate) fn hear(&mut self, api: &Api, name: &str, count: usize) {
        let Some(from) = self.seen else {
            self.list(api, name);
            return;
        };
        let mut heard = 0;
        let mut seen = from;
        for event in api.placements.log.get(from..).unwrap_or_default() {
            if heard == count {
                break;
            }
            seen += 1;
            let key = key(&event.key);
            match &event.object {
                Some(placement) if placement.spec.node_name == name => {
                    self.put(key, placement);
                    heard += 1;
                }
                Some(_) => {}
                None => {
                    self.stored.remove(&key);
                    heard += usize::from(self.view.placements.remove(&key).is_some());
                }
            }
        }
        self.seen = Some(seen);
        self.heard();
    }

    /// A list is read with a quorum: it is never older than what happened before it was asked for.
    pub(crate) fn list(&mut self, api: &Api, name: &str) {
        let former = match self.seen {
            None => std::mem::take(&mut self.remembered),
            Some(_) => std::mem::take(&mut self.view),
        };
        self.view = View {
            source: Source::Api,
            placements: former.placements,
        };
        self.stored.clear();
        let mine = |placement: &Placement| placement.spec.node_name == name;
        let listed = api.placements.objects.iter().filter(|(_, placement)| mine(placement));
        for (key_there, placement) in listed {
            self.put(key(key_there), placement);
        }
        let stored = &self.stored;
        self.view.placements.retain(|key, _| stored.contains_key(key));
        self.seen = Some(api.placements.log.len());
        self.heard();
    }

    fn put(&mut self, key: PlacementKey, placement: &Placement) {
        self.stored
            .insert(key.clone(), placement.status.clone().unwrap_or_default());
        let meta = &placement.metadata;
        let placed = Placed {
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            spec: placement.spec.clone(),
            not_understood: None,
            down: Default::default(),
            untested: Default::default(),
            serving: Default::default(),
        };
        let former = self.view.placements.get(&key);
        if former.is_none_or(|former| former.uid != placed.uid || former.generation <= placed.generation) {
            self.view.placements.insert(key, placed);
        }
    }

    fn heard(&mut self) {
        self.stored.iter().for_each(|(key, status)| self.node.said(key, status));
    }

    /// One pass. A process that dies in it says nothing.
    pub(crate) fn pass(&mut self, now: Now) -> Deeds {
        self.node.see(self.view.clone());
        let outcome = self.node.pass(now);
        let kernel = self.node.kernel();
        let lines = kernel.take_log();
        let died = kernel.crashed();
        let is_whole = outcome.as_ref().is_ok_and(|outcome| !outcome.unfinished) && !died;
        if let Ok(outcome) = outcome
            && !died
        {
            match outcome.reach {
                Reach::Everything => self.latest = outcome.statuses,
                Reach::Changes => self.latest.extend(outcome.statuses),
            }
        }
        Deeds { lines, died, is_whole }
    }

    /// A status that is to be written, the first one behind `skip` others.
    pub(crate) fn due(&self, skip: usize) -> Option<(PlacementKey, PlacementStatus)> {
        let is_due = |(key, status): &(&PlacementKey, &PlacementStatus)| {
            self.stored.get(*key).is_some_and(|stored| stored != *status)
        };
        let due: Vec<_> = self.latest.iter().filter(is_due).collect();
        let (key, status) = due.get(skip % due.len().max(1))?;
        Some(((*key).clone(), (*status).clone()))
    }

    /// What became of a write: it is stored, or there is nothing to write to.
    pub(crate) fn said(&mut self, key: PlacementKey, stored: Option<PlacementStatus>) {
        match stored {
            Some(status) => {
                self.stored.insert(key, status);
            }
            None => {
                self.stored.remove(&key);
            }
        }
    }
}

fn key(key: &Key) -> PlacementKey {
    PlacementKey {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// What an agent does, step by step. Its passes are in `passes`, with what must hold in them.
impl World {
    /// Nothing starts on a node that the cluster does not know.
    pub(crate) fn start_agent(&mut self, index: usize) {
        let node = self.api.nodes.objects.get(&self.node_key(index));
        let uid = node.and_then(|node| node.metadata.uid.clone());
        let Some((uid, machine)) = uid.zip(self.machines.get_mut(index)) else {
            return;
        };
        if machine.is_on {
            machine.start_agent(&uid);
            let boot = machine.boot_id();
            self.note(|| format!("the agent of {boot} starts"));
        }
    }

    pub(crate) fn stop_agent(&mut self, index: usize) {
        if let Some(machine) = self.machines.get_mut(index) {
            machine.stop_agent();
        }
        self.note(|| format!("the agent of machine {index} dies"));
    }

    pub(crate) fn agent_hears(&mut self, index: usize, count: usize) {
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let is_new = machine.hear(&self.api, count);
        let name = machine.name.clone();
        self.note(|| format!("the agent of {name} hears {count} events, new: {is_new}"));
    }

    /// The watch broke: a list, now.
    pub(crate) fn agent_lists_again(&mut self, index: usize) {
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let name = machine.name.clone();
        if let Some(agent) = machine.agent() {
            agent.list(&self.api, &name);
            machine.remember();
            self.note(|| format!("the agent of {name} lists again"));
        }
    }

    pub(crate) fn agent_takes_from_disk(&mut self, index: usize) {
        let agent = self.machines.get_mut(index).and_then(Machine::agent);
        if agent.is_some_and(Agent::take_from_disk) {
            self.note(|| format!("the agent of machine {index} goes by what it remembers"));
        }
    }

    /// The two clocks of the agent: the cheap look, and the audit.
    pub(crate) fn agent_inspects(&mut self, index: usize) {
        let Some(agent) = self.machines.get_mut(index).and_then(Machine::agent) else {
            return;
        };
        let differs = agent.node.ipvs_differs() | agent.node.audit(1);
        self.note(|| format!("the agent of machine {index} looks around, and something differs: {differs}"));
    }

    /// Whether there was anything to say.
    pub(crate) fn agent_says(&mut self, index: usize) -> bool {
        let skip = self.random.below(8);
        let Some(agent) = self.machines.get_mut(index).and_then(Machine::agent) else {
            return false;
        };
        let Some((key, status)) = agent.due(skip) else {
            return false;
        };
        let stamp = self.api.stamp(self.now);
        let there = Key::new(&key.namespace, &key.name);
        let said = self
            .api
            .placements
            .edit(stamp, &there, |placement| placement.status = Some(status.clone()));
        let words = crate::words::status(&status);
        agent.said(key, said.ok().map(|()| status));
        self.note(|| format!("the agent of machine {index} reports on {there}: {words}"));
        said != Err(Refused::NotFound)
    }

    pub(crate) fn renew(&mut self, index: usize) {
        if let Some(machine) = self.machines.get_mut(index) {
            machine.renew(&mut self.api, self.now);
        }
        self.note(|| format!("machine {index} renews its Lease"));
    }
}
