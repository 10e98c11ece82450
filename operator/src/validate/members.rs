//! Which RealServers serve a VirtualService, and which were chosen and may not.

use super::Refusal;
use crate::snapshot::{Key, Snapshot, StoredRealServer};
use crate::view::View;
use crds::conditions::reason;
use crds::{PlacedRealServer, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The most real servers that one service may have.
pub(crate) const MOST_REAL_SERVERS: usize = 512;

/// A RealServer that may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The node whose agent prepares it.
    pub node: Option<String>,
    /// The addresses that the VIPs of this version can use.
    pub addresses: Vec<String>,
    /// Its weight.
    pub weight: i32,
}

/// Why a chosen RealServer does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRefusal {
    /// Its content, or another's claim: condition Accepted.
    Accepted(Refusal),
    /// Something that it names does not exist: condition ResolvedRefs.
    ResolvedRefs(Refusal),
}

/// RealServers that were chosen, by name.
#[derive(Default)]
pub(super) struct Chosen<'a> {
    readable: Vec<&'a StoredRealServer>,
    unreadable: BTreeSet<&'a str>,
}

impl Chosen<'_> {
    pub(super) fn count_allowed(&self) -> Result<(), Refusal> {
        let count = self.readable.len() + self.unreadable.len();
        if count <= MOST_REAL_SERVERS {
            return Ok(());
        }
        let message = format!(
            "realServerSelector finds {count} RealServers, a service has at most {MOST_REAL_SERVERS}: narrow the selector"
        );
        Err(Refusal::new(reason::TOO_MANY_REAL_SERVERS, message))
    }
}

/// Those that the selector finds.
pub(super) fn select<'a>(view: &View<'a>, namespace: &str, selector: &Selector) -> Chosen<'a> {
    chosen(view.snapshot, namespace, |_, labels| selector.matches(labels))
}

/// Those that are placed already: a refused VirtualService gets no new ones.
pub(super) fn placed<'a>(view: &View<'a>, subject: &Key) -> Chosen<'a> {
    let listed = listed(view, subject);
    chosen(view.snapshot, &subject.namespace, |name, _| listed.contains_key(name))
}

fn chosen<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    is_chosen: impl Fn(&str, &BTreeMap<String, String>) -> bool,
) -> Chosen<'a> {
    let first = Key::new(namespace, "");
    let readable = snapshot.real_servers.range(first.clone()..).map(|(_, stored)| stored);
    let readable = readable.take_while(|stored| stored.meta.key.namespace == namespace);
    let unreadable = snapshot
        .undecodable
        .real_servers
        .range(first..)
        .map(|(_, unread)| &unread.meta);
    let unreadable = unreadable.take_while(|meta| meta.key.namespace == namespace && !meta.deleting);
    Chosen {
        readable: readable
            .filter(|stored| !stored.meta.deleting && is_chosen(&stored.meta.key.name, &stored.meta.labels))
            .collect(),
        unreadable: unreadable
            .filter(|meta| is_chosen(&meta.key.name, &meta.labels))
            .map(|meta| meta.key.name.as_str())
            .collect(),
    }
}

/// What the directors' Placements say of each real server now.
fn listed<'a>(view: &View<'a>, subject: &Key) -> BTreeMap<&'a str, &'a PlacedRealServer> {
    let placements = view.placements(subject).iter();
    let parts = placements.filter_map(|placement| placement.spec.director.as_ref());
    let entries = parts.flat_map(|part| &part.real_servers);
    entries.map(|entry| (entry.name.as_str(), entry)).collect()
}

/// Sorts the chosen into those that serve and those that may not. One that is placed with its address goes before one
/// that is not, then the older; one that cannot be read stays as it is placed.
pub(super) fn resolve(
    view: &View<'_>,
    subject: &Key,
    mut chosen: Chosen<'_>,
) -> (BTreeMap<String, Member>, BTreeMap<String, MemberRefusal>) {
    let listed = listed(view, subject);
    let mut members = BTreeMap::new();
    let mut refused = BTreeMap::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let kept = listed
        .values()
        .filter(|entry| chosen.unreadable.contains(entry.name.as_str()));
    for member in kept.map(|entry| as_placed(entry)) {
        taken.extend(
            member
                .addresses
                .iter()
                .map(|address| (address.clone(), member.name.clone())),
        );
        members.insert(member.name.clone(), member);
    }
    let is_listed = |stored: &StoredRealServer| {
        let entry = listed.get(stored.meta.key.name.as_str());
        entry.is_some_and(|entry| {
            stored
                .spec
                .addresses
                .as_ref()
                .is_none_or(|given| overlap(given, &entry.addresses))
        })
    };
    chosen
        .readable
        .sort_by_key(|stored| (!is_listed(stored), stored.meta.created, &stored.meta.key.name));
    for stored in chosen.readable {
        let name = stored.meta.key.name.clone();
        match member(view, stored).and_then(|member| not_taken(&taken, member)) {
            Ok(member) => {
                taken.extend(member.addresses.iter().map(|address| (address.clone(), name.clone())));
                members.insert(name, member);
            }
            Err(refusal) => {
                refused.insert(name, refusal);
            }
        }
    }
    (members, refused)
}

fn as_placed(entry: &PlacedRealServer) -> Member {
    Member {
        name: entry.name.clone(),
        node: entry.node_name.clone(),
        addresses: entry.addresses.clone(),
        weight: entry.weight,
    }
}

fn overlap(some: &[String], others: &[String]) -> bool {
    some.iter().any(|address| others.contains(address))
}

fn member(view: &View<'_>, stored: &StoredRealServer) -> Result<Member, MemberRefusal> {
    let addresses = usable_addresses(view.snapshot, stored)?;
    let name = &stored.meta.key.name;
    for address in &addresses {
        let served = |placement: &&&crate::snapshot::StoredPlacement| crate::view::in_director_spec(placement, address);
        if let Some(placement) = view.carriers(address).iter().find(served) {
            let message = format!(
                "{address} is a VIP of VirtualService {}: give {name} the address of its own machine",
                crate::view::subject_of(placement)
            );
            return Err(MemberRefusal::Accepted(Refusal::new(reason::INVALID, message)));
        }
    }
    Ok(Member {
        name: name.clone(),
        node: stored.spec.node_name.clone(),
        addresses,
        weight: stored.spec.weight,
    })
}

/// The addresses that VIPs of this version can use: IPv4, one; from the spec, or else from its Node.
///
/// # Errors
/// The Node does not exist, or there is no such address.
pub(crate) fn usable_addresses(snapshot: &Snapshot, stored: &StoredRealServer) -> Result<Vec<String>, MemberRefusal> {
    let spec = &stored.spec;
    let node = match &spec.node_name {
        None => None,
        Some(name) => match snapshot.nodes.get(name) {
            Some(facts) => Some(facts),
            None => {
                let message = format!("no Node {name}: correct nodeName, or add the node");
                return Err(MemberRefusal::ResolvedRefs(Refusal::new(
                    reason::NODE_NOT_FOUND,
                    message,
                )));
            }
        },
    };
    let (given, whence): (Vec<IpAddr>, _) = match (&spec.addresses, node) {
        (Some(given), _) => (given.iter().filter_map(|text| text.parse().ok()).collect(), "addresses"),
        (None, Some(facts)) => (facts.internal_ips.clone(), "the InternalIPs of its node"),
        (None, None) => (Vec::new(), "its spec"),
    };
    match given.iter().find(|address| address.is_ipv4()) {
        Some(address) => Ok(vec![address.to_string()]),
        None => {
            let message =
                format!("no IPv4 address in {whence}, and the VIPs of this version are IPv4: add one to addresses");
            Err(MemberRefusal::Accepted(Refusal::new(reason::INVALID, message)))
        }
    }
}

fn not_taken(taken: &BTreeMap<String, String>, member: Member) -> Result<Member, MemberRefusal> {
    let found = member
        .addresses
        .iter()
        .find_map(|address| Some((address, taken.get(address)?)));
    let Some((address, other)) = found else {
        return Ok(member);
    };
    let message =
        format!("{address} is already the address of RealServer {other} in this service: remove one of the two");
    Err(MemberRefusal::Accepted(Refusal::new(reason::ADDRESS_CONFLICT, message)))
}
