//! The snapshot with indexes, and what an agent's report is worth at this moment.
//!
//! A report counts only for the boot that its node's Lease names. A Lease that ran out makes an agent's facts unknown:
//! that is shown, and changes nothing in the data plane. Only an ended boot, a Node that is gone, or an administrator's
//! word (the out-of-service taint) say something about an agent that is silent.

mod liveness;
mod report;

pub use report::{DrainFact, HealthFact, HostFact, host_reports, is_same_guest};

use crate::snapshot::{Key, Snapshot, StoredPlacement};
use crds::{DirectorAddress, Subject, SubjectKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

/// A snapshot at a time.
#[derive(Debug)]
pub struct View<'a> {
    /// What is known.
    pub snapshot: &'a Snapshot,
    /// When it is looked at.
    pub now: Timestamp,
    newest_sign: Option<Timestamp>,
    /// How long a drain may take on a director, by its node.
    longest_drains: BTreeMap<&'a str, SignedDuration>,
    by_subject: BTreeMap<Key, Vec<&'a StoredPlacement>>,
    by_address: BTreeMap<&'a str, Vec<&'a StoredPlacement>>,
    by_group: BTreeMap<&'a str, Vec<&'a StoredPlacement>>,
    unreadable: BTreeMap<Key, Vec<Unreadable<'a>>>,
}

/// The few facts that must be had of a Placement that does not decode.
#[derive(Debug)]
struct Unreadable<'a> {
    node: &'a str,
    addresses: Vec<&'a str>,
    marks: Vec<i64>,
}

impl<'a> View<'a> {
    /// Looks at `snapshot` at `now`.
    pub fn new(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let mut view = Self {
            snapshot,
            now,
            newest_sign: snapshot.leases.values().filter_map(|lease| lease.renewed).max(),
            longest_drains: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_group: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        };
        for placement in snapshot.placements.values() {
            match placement.spec.subject.kind {
                SubjectKind::VirtualService => view.add_of_service(placement),
                SubjectKind::DirectorGroup => {
                    let group = placement.spec.subject.name.as_str();
                    view.by_group.entry(group).or_default().push(placement);
                }
            }
        }
        for (key, placement) in &snapshot.undecodable.placements {
            let text = |pointer| placement.raw.pointer(pointer).and_then(Value::as_str);
            let name = text("/spec/subject/name").unwrap_or_default();
            let is_of_group = text("/spec/subject/kind") == Some(SubjectKind::DirectorGroup.as_str());
            let subject = if is_of_group {
                group_key(name)
            } else {
                Key::new(&key.namespace, name)
            };
            let facts = Unreadable::from(&placement.raw);
            view.unreadable.entry(subject).or_default().push(facts);
        }
        view
    }

    fn add_of_service(&mut self, placement: &'a StoredPlacement) {
        self.by_subject
            .entry(subject_of(placement))
            .or_default()
            .push(placement);
        for address in carried_addresses(placement) {
            self.by_address.entry(address).or_default().push(placement);
        }
        if let Some(part) = &placement.spec.director {
            let drain = part.drain.unwrap_or_default().timeout_seconds;
            let longest = self.longest_drains.entry(&placement.spec.node_name).or_default();
            *longest = SignedDuration::from_secs(drain.into()).max(*longest);
        }
    }

    /// Every VirtualService for which there are Placements.
    pub fn subjects(&self) -> impl Iterator<Item = &Key> {
        self.by_subject.keys()
    }

    /// The Placements of one VirtualService, present or gone.
    pub fn placements(&self, subject: &Key) -> &[&'a StoredPlacement] {
        self.by_subject.get(subject).map_or(&[], Vec::as_slice)
    }

    /// The one Placement of this VirtualService on this node; strays with another name are not meant.
    pub fn placement(&self, subject: &Key, node: &str) -> Option<&'a StoredPlacement> {
        let name = placement_name(subject, node);
        let found = self.snapshot.placements.get(&Key::new(&subject.namespace, name))?;
        (subject_of(found) == *subject && found.spec.node_name == node).then_some(found)
    }

    /// Every Placement of a VirtualService.
    pub fn service_placements(&self) -> impl Iterator<Item = &'a StoredPlacement> {
        self.by_subject.values().flatten().copied()
    }

    /// Every DirectorGroup for which there are Placements, with them.
    pub fn group_placements(&self) -> impl Iterator<Item = (&'a str, &[&'a StoredPlacement])> {
        self.by_group
            .iter()
            .map(|(group, placements)| (*group, placements.as_slice()))
    }

    /// The one Placement of this DirectorGroup on this node.
    pub fn group_placement(&self, group: &str, node: &str) -> Option<&'a StoredPlacement> {
        let namespace = &self.snapshot.settings.namespace;
        let key = Key::new(namespace, group_placement_name(namespace, group, node));
        let of_group = self.by_group.get(group).into_iter().flatten().copied();
        of_group
            .into_iter()
            .find(|placement| placement.meta.key == key && placement.spec.node_name == node)
    }

    /// Whether the Placement of this DirectorGroup on this node does not decode.
    pub fn is_group_unreadable(&self, group: &str, node: &str) -> bool {
        self.is_unreadable(&group_key(group), node)
    }

    /// Whether a Placement of this VirtualService does not decode, so that nobody knows what its node is told.
    pub fn has_unreadable(&self, subject: &Key) -> bool {
        self.unreadable.contains_key(subject)
    }

    /// Whether the Placement of this VirtualService on this node does not decode.
    pub fn is_unreadable(&self, subject: &Key, node: &str) -> bool {
        let placements = self.unreadable.get(subject);
        placements.is_some_and(|all| all.iter().any(|placement| placement.node == node))
    }

    /// VIPs that undecodable Placements name, with their subjects.
    pub fn unreadable_addresses(&self) -> impl Iterator<Item = (&Key, &'a str)> {
        let all = self.unreadable.iter();
        all.flat_map(|(subject, placements)| {
            let addresses = placements.iter().flat_map(|placement| &placement.addresses);
            addresses.map(move |address| (subject, *address))
        })
    }

    /// Firewall marks that undecodable Placements name.
    pub fn unreadable_marks(&self) -> impl Iterator<Item = i64> {
        let all = self.unreadable.values().flatten();
        all.flat_map(|placement| placement.marks.iter().copied())
    }

    /// Placements whose director part, or last report, names this VIP.
    pub fn carriers(&self, address: &str) -> &[&'a StoredPlacement] {
        self.by_address.get(address).map_or(&[], Vec::as_slice)
    }

    /// Whether no other node's Placement names this VIP: the look after the reservation.
    pub fn is_alone(&self, address: &str, node: &str) -> bool {
        let elsewhere = |placement: &&StoredPlacement| {
            let other = placement.spec.node_name.as_str();
            other != node && (in_director_spec(placement, address) || !self.is_off(other))
        };
        let unreadable = || {
            let mut all = self.unreadable.values().flatten();
            all.any(|placement| placement.node != node && placement.addresses.contains(&address))
        };
        !self.carriers(address).iter().any(elsewhere) && !unreadable()
    }

    /// Whether no other node's Placement names one of these as an address that FullNAT speaks from: they are held with VIPs,
    /// and move when all of these have.
    pub fn are_sources_alone(&self, sources: &[String], node: &str) -> bool {
        let names = |placement: &StoredPlacement| {
            let part = placement.spec.director.as_ref();
            part.is_some_and(|part| {
                part.full_nat_source_addresses
                    .iter()
                    .any(|there| sources.contains(there))
            })
        };
        let mut elsewhere = self
            .service_placements()
            .filter(|placement| placement.spec.node_name != node);
        sources.is_empty() || !elsewhere.any(names)
    }
}

impl<'a> From<&'a Value> for Unreadable<'a> {
    fn from(raw: &'a Value) -> Self {
        let list = |pointer| raw.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        Self {
            node: raw
                .pointer("/spec/nodeName")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            addresses: list("/spec/director/addresses")
                .filter_map(|entry| entry.get("address")?.as_str())
                .collect(),
            marks: list("/spec/director/services")
                .filter_map(|service| service.get("firewallMark")?.as_i64())
                .collect(),
        }
    }
}

/// The VirtualService that a Placement exists for.
pub fn subject_of(placement: &StoredPlacement) -> Key {
    Key::new(&placement.meta.key.namespace, &placement.spec.subject.name)
}

/// A DirectorGroup among the subjects: no VirtualService is without a namespace.
fn group_key(name: &str) -> Key {
    Key::new("", name)
}

/// The name of a VirtualService's Placement on a node.
pub fn placement_name(subject: &Key, node: &str) -> String {
    crds::names::placement(&subject.namespace, &subject_named(&subject.name), node)
}

/// A VirtualService as a subject.
pub fn subject_named(name: &str) -> Subject {
    Subject {
        kind: SubjectKind::VirtualService,
        name: name.to_owned(),
    }
}

/// The name of a DirectorGroup's Placement on a node; `namespace` is the operator's.
pub fn group_placement_name(namespace: &str, group: &str, node: &str) -> String {
    crds::names::placement(namespace, &group_named(group), node)
}

/// A DirectorGroup as a subject.
pub fn group_named(name: &str) -> Subject {
    Subject {
        kind: SubjectKind::DirectorGroup,
        name: name.to_owned(),
    }
}

/// The VIPs of the spec's director part that are not being withdrawn.
pub fn living_entries(placement: &StoredPlacement) -> impl Iterator<Item = &DirectorAddress> {
    let entries = placement.spec.director.iter().flat_map(|part| &part.addresses);
    entries.filter(|entry| !entry.withdraw)
}

/// Whether the spec's director part names this VIP, whatever it is told to do with it.
pub fn in_director_spec(placement: &StoredPlacement, address: &str) -> bool {
    let director = placement.spec.director.as_ref();
    director.is_some_and(|part| part.addresses.iter().any(|entry| entry.address == address))
}

/// Whether the last report says that the director's kernel holds anything of ours for this VIP.
pub fn in_director_report(placement: &StoredPlacement, address: &str) -> bool {
    let director = placement.status.director.as_ref();
    director.is_some_and(|report| report.addresses.iter().any(|entry| entry.address == address))
}

/// The VIPs that the director part, or the last report on it, names.
fn carried_addresses(placement: &StoredPlacement) -> impl Iterator<Item = &str> {
    let spec = placement.spec.director.iter().flat_map(|part| &part.addresses);
    let spec = spec.map(|entry| entry.address.as_str());
    let report = placement.status.director.iter().flat_map(|report| &report.addresses);
    let report = report.map(|entry| entry.address.as_str());
    // A VIP that is in both is named once.
    spec.chain(report.filter(|address| !in_director_spec(placement, address)))
}
