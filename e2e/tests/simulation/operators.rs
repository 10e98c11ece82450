//! An operator process: what its watches have told it, and the writes that it has decided on and not yet made.

use crate::api::{Api, Shelf};
use crate::world::World;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource;
use operator::snapshot::{LeaseFacts, NodeFacts, Stored};
use operator::{Key, Snapshot, Write};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The kinds that an operator watches, each by a watch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    VirtualServices,
    RealServers,
    DirectorGroups,
    Placements,
    Nodes,
    Namespaces,
    Leases,
}

pub(crate) const KINDS: [Kind; 7] = [
    Kind::VirtualServices,
    Kind::RealServers,
    Kind::DirectorGroups,
    Kind::Placements,
    Kind::Nodes,
    Kind::Namespaces,
    Kind::Leases,
];

/// One of the two.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) is_up: bool,
    /// It can reach the API server.
    pub(crate) is_connected: bool,
    /// A watch of its own that hangs most of the time: what it says of this kind is long past.
    pub(crate) deaf_to: Option<Kind>,
    /// It does nothing for a while, and then goes on where it was.
    pub(crate) is_paused: bool,
    snapshot: Snapshot,
    /// How much of each kind's log it has seen; nothing before the first list.
    seen: BTreeMap<Kind, usize>,
    /// Decided, not yet made. A crash forgets them; a slow connection makes them late.
    pub(crate) pending: Vec<Write>,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            is_up: true,
            is_connected: true,
            deaf_to: None,
            is_paused: false,
            snapshot: Snapshot::default(),
            seen: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// The process ends; the next one knows nothing.
    pub(crate) fn crash(&mut self) {
        *self = Self {
            is_up: false,
            is_connected: self.is_connected,
            deaf_to: self.deaf_to,
            ..Self::new()
        };
    }

    /// Takes in up to `count` events of a kind; the first time, a whole list.
    pub(crate) fn hear(&mut self, api: &Api, kind: Kind, count: usize) {
        let length = length(api, kind);
        let from = self.seen.get(&kind).copied();
        // A first list is as new as can be: it is read with a quorum.
        let to = from.map_or(length, |from| (from + count).min(length));
        self.absorb(api, kind, from.unwrap_or(0), to);
    }

    /// The watch broke: a list replaces what was known, perhaps by an older server's picture.
    pub(crate) fn list_again(&mut self, api: &Api, kind: Kind, position: usize) {
        self.clear(kind);
        self.absorb(api, kind, 0, position.min(length(api, kind)));
    }

    pub(crate) fn hear_everything(&mut self, api: &Api) {
        let heard = |kind: &Kind| self.deaf_to != Some(*kind) || !self.seen.contains_key(kind);
        let heard: Vec<Kind> = KINDS.into_iter().filter(heard).collect();
        for kind in heard {
            self.hear(api, kind, usize::MAX / 2);
        }
    }

    /// Looks, and decides. Nothing before every watch had its list.
    pub(crate) fn decide(&self, now: Timestamp) -> Vec<Write> {
        if self.seen.len() < KINDS.len() {
            return Vec::new();
        }
        let writes = operator::reconcile(&self.snapshot, now).writes;
        let is_write = |write: &Write| !matches!(write, Write::Event(_));
        writes.into_iter().filter(is_write).collect()
    }

    fn clear(&mut self, kind: Kind) {
        let all = &mut self.snapshot;
        match kind {
            Kind::VirtualServices => all.virtual_services.clear(),
            Kind::RealServers => all.real_servers.clear(),
            Kind::DirectorGroups => all.director_groups.clear(),
            Kind::Placements => all.placements.clear(),
            Kind::Nodes => all.nodes.clear(),
            Kind::Namespaces => all.namespaces.clear(),
            Kind::Leases => all.leases.clear(),
        }
    }

    fn absorb(&mut self, api: &Api, kind: Kind, from: usize, to: usize) {
        let all = &mut self.snapshot;
        match kind {
            Kind::VirtualServices => stored(&api.virtual_services, from, to, &mut all.virtual_services),
            Kind::RealServers => stored(&api.real_servers, from, to, &mut all.real_servers),
            Kind::Placements => stored(&api.placements, from, to, &mut all.placements),
            Kind::DirectorGroups => each(&api.director_groups, from, to, |key, object| {
                let stored = object.map(|group| Stored::from(group.clone()));
                put(&mut all.director_groups, key.name.clone(), stored);
            }),
            Kind::Nodes => each(&api.nodes, from, to, |key, object| {
                put(&mut all.nodes, key.name.clone(), object.map(NodeFacts::from));
            }),
            Kind::Namespaces => each(&api.namespaces, from, to, |key, object| {
                let labels = object.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
                put(&mut all.namespaces, key.name.clone(), labels);
            }),
            Kind::Leases => each(&api.leases, from, to, |key, object: Option<&Lease>| {
                if let Some(node) = key.name.strip_prefix(crds::names::AGENT_LEASE_PREFIX) {
                    put(&mut all.leases, node.to_owned(), object.map(LeaseFacts::from));
                }
            }),
        }
        self.seen.insert(kind, to);
    }
}

/// How many events a kind has had.
pub(crate) fn length(api: &Api, kind: Kind) -> usize {
    match kind {
        Kind::VirtualServices => api.virtual_services.log.len(),
        Kind::RealServers => api.real_servers.log.len(),
        Kind::DirectorGroups => api.director_groups.log.len(),
        Kind::Placements => api.placements.log.len(),
        Kind::Nodes => api.nodes.log.len(),
        Kind::Namespaces => api.namespaces.log.len(),
        Kind::Leases => api.leases.log.len(),
    }
}

/// The last word about each object in a stretch of the log.
fn each<K>(shelf: &Shelf<K>, from: usize, to: usize, mut take: impl FnMut(&Key, Option<&K>)) {
    let mut last: BTreeMap<&Key, Option<&Rc<K>>> = BTreeMap::new();
    for event in shelf.log.get(from..to).unwrap_or_default() {
        last.insert(&event.key, event.object.as_ref());
    }
    for (key, object) in last {
        take(key, object.map(|object| &**object));
    }
}

fn stored<K, S, T>(shelf: &Shelf<K>, from: usize, to: usize, into: &mut BTreeMap<Key, Stored<S, T>>)
where
    K: Resource + Clone,
    Stored<S, T>: From<K>,
{
    each(shelf, from, to, |key, object| {
        put(into, key.clone(), object.map(|object| Stored::from(object.clone())));
    });
}

fn put<Id: Ord, V>(map: &mut BTreeMap<Id, V>, key: Id, value: Option<V>) {
    match value {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}

/// What an operator does, step by step.
impl World {
    pub(crate) fn operator_hears(&mut self, who: usize, kind: Kind, count: usize) {
        self.note(|| format!("operator {who} hears {count} events of {kind:?}"));
        if let Some(operator) = self.operators.get_mut(who) {
            operator.hear(&self.api, kind, count);
        }
    }

    pub(crate) fn operator_hears_everything(&mut self, who: usize) {
        self.note(|| format!("operator {who} hears everything"));
        if let Some(operator) = self.operators.get_mut(who) {
            operator.hear_everything(&self.api);
        }
    }

    pub(crate) fn operator_lists_again(&mut self, who: usize, kind: Kind, position: usize) {
        let is_bounded = kind == Kind::Nodes;
        let position = if is_bounded {
            position.max(self.nodes_known)
        } else {
            position
        };
        self.note(|| format!("operator {who} lists {kind:?} as of event {position}"));
        if let Some(operator) = self.operators.get_mut(who) {
            operator.list_again(&self.api, kind, position);
        }
    }

    /// How many writes it decided on.
    pub(crate) fn operator_looks(&mut self, who: usize) -> usize {
        let now = self.now;
        let Some(operator) = self.operators.get_mut(who) else {
            return 0;
        };
        let writes = operator.decide(now);
        let count = writes.len();
        operator.pending.extend(writes);
        self.note(|| format!("operator {who} looks and decides on {count} writes"));
        count
    }

    /// Makes one of the writes that are open, in any order: the real one makes several at a time.
    pub(crate) fn operator_writes(&mut self, who: usize) {
        let Some(operator) = self
            .operators
            .get_mut(who)
            .filter(|operator| !operator.pending.is_empty())
        else {
            return;
        };
        let which = self.random.below(operator.pending.len());
        let write = operator.pending.swap_remove(which);
        let result = if operator.is_connected {
            self.api
                .carry_out(&write, self.now)
                .map_err(|refused| format!("{refused:?}"))
        } else {
            Err("no API server".to_owned())
        };
        self.note(|| format!("operator {who} writes: {result:?} for {}", crate::words::write(&write)));
    }

    pub(crate) fn operator_pauses(&mut self, who: usize, pauses: bool) {
        if let Some(operator) = self.operators.get_mut(who)
            && operator.is_paused != pauses
        {
            operator.is_paused = pauses;
            self.note(|| format!("operator {who} is paused: {pauses}"));
        }
    }

    pub(crate) fn operator_crashes(&mut self, who: usize) {
        self.note(|| format!("operator {who} dies"));
        if let Some(operator) = self.operators.get_mut(who) {
            operator.crash();
        }
    }

    /// An operator that just started knows nothing of the kinds, so it lists them.
    pub(crate) fn operator_starts(&mut self, who: usize) {
        self.note(|| format!("operator {who} starts"));
        if let Some(operator) = self.operators.get_mut(who) {
            operator.is_up = true;
            if operator.is_connected {
                for kind in KINDS {
                    operator.hear(&self.api, kind, 0);
                }
            }
        }
    }
}
