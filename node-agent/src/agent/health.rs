//! What the loop does for health checks: it orders probes, and takes verdicts into what is known of the Placements.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Agent, Cause};
use crate::checks::{Asked, Belief, Order};
use crate::kernel::Kernel;
use crate::ledger::Journal;
use crate::plan::Change;
use crate::view::{Placed, PlacementKey, View};

impl<K: Kernel, J: Journal> Agent<K, J> {
    /// The Placements as the verdicts leave them, and nothing probed but what they ask for.
    pub(super) fn checked_all(&mut self, view: View) -> View {
        self.node.meet();
        let known = self.node.view().placements.keys();
        let gone: Vec<PlacementKey> = known
            .filter(|key| !view.placements.contains_key(*key))
            .cloned()
            .collect();
        gone.iter().for_each(|key| self.uncheck(key));
        let placements = view.placements.into_iter();
        let placements: BTreeMap<_, _> = placements
            .map(|(key, placed)| {
                let placed = self.checked(&key, placed);
                (key, placed)
            })
            .collect();
        View { placements, ..view }
    }

    /// A Placement as the verdicts leave it; what it asks for is probed from now on.
    pub(super) fn checked(&mut self, key: &PlacementKey, placed: Placed) -> Placed {
        let (node, verdicts) = (&self.node, &mut self.verdicts);
        let down: BTreeSet<SocketAddr> = match node.view().placements.get(key) {
            Some(former) => former.down.keys().map(|(_, destination, _)| *destination).collect(),
            None => BTreeSet::new(),
        };
        let known = |asked: &Asked, of: &BTreeSet<SocketAddr>| {
            let serves = || of.iter().any(|destination| node.sends_to(&placed.spec, *destination));
            Belief::at_first(verdicts.of(asked), !down.is_disjoint(of), serves)
        };
        let orders = self.checks.place(key, Some(&placed.spec), known);
        self.order(orders);
        self.checks.judge(placed)
    }

    /// Nothing is probed for a Placement that is gone.
    pub(super) fn uncheck(&mut self, key: &PlacementKey) {
        let orders = self.checks.place(key, None, |_, _| None);
        self.order(orders);
    }

    /// Probes may go by the ways that the last pass found open. `done` is what it did: where it put a service back, after a
    /// flush perhaps, probes went astray until then.
    pub(super) fn open_ways(&mut self, done: &[Change]) {
        let added = done.iter().filter_map(|change| match change.ipvs()? {
            ipvs::Change::AddService { service, .. } | ipvs::Change::AddDestination { service, .. } => Some(*service),
            ipvs::Change::EditService { .. }
            | ipvs::Change::DeleteService { .. }
            | ipvs::Change::EditDestination { .. }
            | ipvs::Change::DeleteDestination { .. } => None,
        });
        let anew = self.node.ways().with(&added.collect());
        if *self.node.ways() != self.ways || !anew.is_empty() {
            self.ways = self.node.ways().clone();
            let ways = self.ways.clone();
            self.order(vec![Order::Open { ways, anew }]);
        }
    }

    fn order(&self, orders: Vec<Order>) {
        for order in orders {
            // The checker ends before the loop only when the process ends.
            let _: Result<(), _> = self.orders.send(order);
        }
    }

    /// Takes what is believed into these Placements.
    pub(super) fn judge(&mut self, keys: BTreeSet<PlacementKey>) {
        for key in keys {
            let Some(placed) = self.node.view().placements.get(&key) else {
                continue;
            };
            let judged = self.checks.judge(placed.clone());
            if !judged.asks_as(placed) {
                self.node.place(key, Some(judged));
                self.want(Cause::Health);
            }
        }
    }
}
