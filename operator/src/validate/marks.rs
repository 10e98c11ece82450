//! Firewall marks of our own, for services with `persistence.acrossPorts`.
//!
//! The mark that a Placement carries is kept, so that it never changes under live connections. Two services that carry one
//! mark were given it by operators that did not see each other: the one with the better claim keeps it.

use crate::snapshot::{Key, StoredVirtualService};
use crate::view::{View, subject_of};
use crds::{AddressOwner, VirtualServiceSpec};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Whether one client is to meet one real server on all ports.
pub(super) fn is_across_ports(spec: &VirtualServiceSpec) -> bool {
    spec.persistence
        .as_ref()
        .is_some_and(|persistence| persistence.across_ports)
}

/// The mark of every service that needs one of ours; a service is left out when the range has none any more.
pub(super) fn allocate(view: &View<'_>) -> BTreeMap<Key, i64> {
    let services = view.snapshot.virtual_services.values();
    let mut asking: Vec<&StoredVirtualService> = services
        .filter(|stored| !stored.meta.deleting && is_across_ports(&stored.spec))
        .collect();
    asking.sort_by_key(|stored| (stored.meta.created, &stored.meta.key));
    if asking.is_empty() {
        return BTreeMap::new();
    }
    let kept = kept(view);
    let mut taken = in_use(view);
    let mut marks = BTreeMap::new();
    for stored in asking {
        let key = &stored.meta.key;
        let mark = kept.get(key).copied().or_else(|| {
            let mut free = view
                .snapshot
                .settings
                .firewall_marks
                .from_seed(seed(key))
                .map(i64::from);
            free.find(|mark| !taken.contains(mark))
        });
        if let Some(mark) = mark {
            taken.insert(mark);
            marks.insert(key.clone(), mark);
        }
    }
    marks
}

/// Whose Placements carry which mark of ours.
fn kept(view: &View<'_>) -> BTreeMap<Key, i64> {
    let mut holders: BTreeMap<i64, BTreeSet<(bool, Timestamp, Key)>> = BTreeMap::new();
    for placement in view.service_placements() {
        let Some(part) = &placement.spec.director else {
            continue;
        };
        let subject = subject_of(placement);
        let Some(stored) = view.snapshot.virtual_services.get(&subject) else {
            continue;
        };
        let is_owner = part
            .addresses
            .iter()
            .any(|entry| entry.address_owner == AddressOwner::Node);
        let ours = part.services.iter().filter(|service| !service.marked_ports.is_empty());
        for mark in ours.filter_map(|service| service.firewall_mark) {
            let claim = (!is_owner, stored.meta.created, subject.clone());
            holders.entry(mark).or_default().insert(claim);
        }
    }
    let first = holders
        .into_iter()
        .filter_map(|(mark, claims)| Some((claims.into_iter().next()?.2, mark)));
    first.collect()
}

/// Marks that are somebody's: what people ask for, and whatever a Placement carries.
fn in_use(view: &View<'_>) -> BTreeSet<i64> {
    let asked = view.snapshot.virtual_services.values();
    let asked = asked.filter_map(|stored| stored.spec.firewall_mark);
    let parts = view
        .service_placements()
        .filter_map(|placement| placement.spec.director.as_ref());
    let placed = parts
        .flat_map(|part| &part.services)
        .filter_map(|service| service.firewall_mark);
    asked.chain(placed).chain(view.unreadable_marks()).collect()
}

/// Where a service begins to look for its mark (FNV-1a over its key).
fn seed(key: &Key) -> u32 {
    let text = key.to_string();
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
