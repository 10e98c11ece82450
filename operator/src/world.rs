//! A small world for tests: an API with versions, generations and finalizers, and agents that do what they are told.
//!
//! It interprets writes by the API server's rules and refuses what those refuse. `settle` turns the crank until nobody
//! writes, so a test says what happens, and looks at the end or stops in between.

mod agents;
mod api;
mod look;
mod manifests;
mod nodes;
mod rules;
mod words;

pub(crate) use manifests::{GROUP, RS1, RS2, WEB};

use crate::reconcile;
use crate::snapshot::{Objects, Snapshot};
use crate::write::{Decisions, Write};
use agents::Sent;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Everything there is.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) objects: Objects,
    pub(crate) now: Timestamp,
    /// Boot ids by node; a node without one has no agent.
    pub(crate) boots: BTreeMap<String, String>,
    /// Nodes whose agent does nothing for now; their kernels stay as they are.
    pub(crate) silent: BTreeSet<String>,
    /// What hosts cannot do: node, real server and method, with what their agents say.
    pub(crate) unable: BTreeMap<(String, String, &'static str), String>,
    /// Real servers whose health checks fail.
    pub(crate) down: BTreeSet<String>,
    /// Real servers whose clients stay connected while they drain.
    pub(crate) clinging: BTreeSet<String>,
    /// What the directors' tables hold, by Placement.
    kernels: BTreeMap<String, BTreeSet<Sent>>,
    version: u64,
}

/// A write that the API refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

impl World {
    /// A director, two hosts, a group, and their agents.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            objects: Objects::default(),
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
            boots: BTreeMap::new(),
            silent: BTreeSet::new(),
            unable: BTreeMap::new(),
            down: BTreeSet::new(),
            clinging: BTreeSet::new(),
            kernels: BTreeMap::new(),
            version: 100,
        };
        for (index, node) in ["dir1", "dir2", "rs1", "rs2"].into_iter().enumerate() {
            world.node(node, &format!("192.168.56.{}", 10 * (index + 1)));
        }
        world.label("dir1", "lvs-operator.io/director", Some("true"));
        world.apply(GROUP);
        for namespace in ["shop", "blog"] {
            world.apply(&format!(
                "kind: Namespace\nmetadata: {{name: {namespace}, labels: {{team: {namespace}}}}}"
            ));
        }
        world.agents();
        world
    }

    /// The same with a service on two hosts.
    pub(crate) fn serving() -> Self {
        let mut world = Self::new();
        world.apply(WEB);
        world.apply(RS1);
        world.apply(RS2);
        world.settle();
        world
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::from_objects(self.objects.clone())
    }

    /// What an operator with a fresh view decides.
    pub(crate) fn decide(&self) -> Decisions {
        reconcile(&self.snapshot(), self.now)
    }

    /// Writes to Placements only.
    pub(crate) fn placement_writes(&self) -> Vec<Write> {
        let is_placement = |write: &Write| !matches!(write, Write::Status(_) | Write::Event(_));
        self.decide().writes.into_iter().filter(is_placement).collect()
    }

    /// One pass of an operator.
    pub(crate) fn pass(&mut self) -> Decisions {
        let decisions = self.decide();
        for write in &decisions.writes {
            let _ = self.carry_out(write);
        }
        decisions
    }

    /// Passes and reports until nobody writes; how many passes it took.
    pub(crate) fn settle(&mut self) -> usize {
        for passes in 0..40 {
            self.now += SignedDuration::from_millis(50);
            self.agents();
            self.check();
            if self.pass().writes.is_empty() {
                return passes;
            }
            self.check();
        }
        panic!("never settled: {:#?}", self.decide().writes);
    }
}
