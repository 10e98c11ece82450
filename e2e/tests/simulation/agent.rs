//! An agent's process: the product's passes, and around them what its shell does, one step at a time. What the shell
//! does is written again here, because the real one waits for sockets and clocks: see `node_agent::{agent, api, placements}`.

use crate::api::Api;
use crds::{Placement, PlacementStatus};
use jiff::Timestamp;
use node_agent::kernel::fake::FakeKernel;
use node_agent::ledger::Entry;
use node_agent::pass::Node;
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
        };
        let former = self.view.placements.get(&key);
        if former.is_none_or(|former| former.uid != placed.uid || former.generation <= placed.generation) {
            self.view.placements.insert(key, placed);
        }
    }

    fn heard(&mut self) {
        self.node.said(&self.stored);
    }

    /// One pass. A process that dies in it says nothing.
    pub(crate) fn pass(&mut self, now: Timestamp) -> Deeds {
        let outcome = self.node.pass(&self.view, now);
        let kernel = self.node.kernel();
        let lines = kernel.take_log();
        let died = kernel.crashed();
        let is_whole = outcome.as_ref().is_ok_and(|outcome| !outcome.unfinished) && !died;
        if let Ok(outcome) = outcome
            && !died
        {
            self.latest = outcome.statuses;
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
