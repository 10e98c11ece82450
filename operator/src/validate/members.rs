//! Which RealServers serve a VirtualService, and which were chosen and may not.

use super::addresses::{placed_source_of, vip_of};
use super::checks::askable;
use super::chosen::{Chosen, listed, placed};
use super::terms::Terms;
use super::ways::{destination_port, last_accepted, serves};
use super::{Family, Refusal, STILL_SERVES};
use crate::snapshot::{Key, Snapshot, StoredRealServer};
use crate::view::View;
use crds::conditions::reason;
use crds::{Forwarding, HealthCheck, HostRealServer, PlacedRealServer};
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
    /// Its addresses, one a family at most.
    pub addresses: Vec<String>,
    /// Its weight.
    pub weight: i32,
    /// Its port, where it has one of its own.
    pub port: Option<i32>,
    /// How packets reach it.
    pub way: Forwarding,
    /// Connections at which it gets no new ones; 0 = no limit.
    pub upper_threshold: i32,
    /// Connections below which it gets new ones again.
    pub lower_threshold: i32,
    /// Checks that it must pass, instead of the service's.
    pub health_checks: Option<Vec<HealthCheck>>,
    /// Whether it leaves, though it is a member: it is cordoned.
    pub leaving: bool,
    /// Whether it is the sorry server, and counts for nothing else.
    pub sorry: bool,
}

impl Member {
    /// A real server as it is placed, reached in this way.
    pub fn placed(entry: &PlacedRealServer, way: Forwarding) -> Self {
        Self {
            name: entry.name.clone(),
            node: entry.node_name.clone(),
            addresses: entry.addresses.clone(),
            weight: entry.weight,
            port: entry.port,
            way,
            upper_threshold: entry.upper_threshold,
            lower_threshold: entry.lower_threshold,
            health_checks: entry.health_checks.clone(),
            leaving: entry.leaving,
            sorry: entry.sorry,
        }
    }

    /// A real server as the last accepted spec has it placed.
    pub(super) fn as_accepted(entry: &PlacedRealServer) -> Self {
        Self::placed(entry, last_accepted(entry))
    }

    /// Whether it can serve this VIP: by an address of its family, or in a tunnel, which carries either.
    pub fn serves(&self, vip: &str) -> bool {
        serves(&self.addresses, &self.way, vip)
    }

    /// The member as its host knows it.
    pub fn guest(&self) -> HostRealServer {
        HostRealServer {
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            forwarding_method: self.way.forwarding_method,
            tunnel: self.way.tunnel.clone(),
            leaving: false,
        }
    }

    /// Whether anything is probed of it, in a service with these checks.
    pub fn is_probed(&self, of_service: &[HealthCheck]) -> bool {
        let checks = self.health_checks.as_deref().unwrap_or(of_service);
        checks.iter().any(|check| check.none.is_none())
    }

    /// The node that is to prepare itself for it; none when nothing is to be prepared.
    pub fn host(&self) -> Option<&str> {
        let node = self.node.as_deref();
        node.filter(|_| self.way.forwarding_method.is_host_prepared())
    }
}

/// Why a chosen RealServer does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRefusal {
    /// Its content, or another's claim: condition Accepted.
    Accepted(Refusal),
    /// Something that it names does not exist: condition ResolvedRefs.
    ResolvedRefs(Refusal),
}

impl MemberRefusal {
    /// With the word that what is placed goes on, where it does.
    pub(super) fn of(self, kept: Option<&Member>) -> Self {
        match (self, kept) {
            (Self::Accepted(refusal), Some(_)) => Self::Accepted(Refusal {
                message: format!("{}{STILL_SERVES}", refusal.message),
                ..refusal
            }),
            (other, _) => other,
        }
    }
}

/// The real servers of a refused VirtualService: those that are placed already, and no new ones.
pub(super) fn kept(view: &View<'_>, subject: &Key) -> (BTreeMap<String, Member>, BTreeMap<String, MemberRefusal>) {
    resolve(view, subject, placed(view, subject), &Terms::placed(view, subject))
}

/// Addresses and ports of a service's real servers, and whose they are.
type Taken = BTreeMap<(String, Option<i32>), String>;

/// Sorts the chosen into those that serve and those that may not. One that is placed with its address goes before one
/// that is placed with another, that before one that is not, then the older. One that cannot be read stays as it is
/// placed; and so does one that is refused, where what is placed may stay: then it is in both.
pub(super) fn resolve(
    view: &View<'_>,
    subject: &Key,
    mut chosen: Chosen<'_>,
    terms: &Terms<'_>,
) -> (BTreeMap<String, Member>, BTreeMap<String, MemberRefusal>) {
    let listed = listed(view, subject);
    let mut members = BTreeMap::new();
    let mut refused = BTreeMap::new();
    let mut taken = Taken::new();
    let kept = listed
        .values()
        .filter(|entry| chosen.unreadable.contains(entry.name.as_str()));
    for member in kept.map(|entry| as_accepted(terms, entry)) {
        taken.extend(destinations(terms, &member).map(|there| (there, member.name.clone())));
        members.insert(member.name.clone(), member);
    }
    let rank = |stored: &StoredRealServer| match listed.get(stored.meta.key.name.as_str()) {
        Some(entry) => {
            let given = stored.spec.addresses.as_ref();
            u8::from(given.is_some_and(|given| !overlap(given, &entry.addresses)))
        }
        None => 2,
    };
    chosen
        .readable
        .sort_by_key(|stored| (rank(stored), stored.meta.created, &stored.meta.key.name));
    for stored in chosen.readable {
        let name = stored.meta.key.name.clone();
        let entry = listed.get(name.as_str()).copied();
        let asked = asked(view, stored, terms, entry);
        let admitted = match asked.and_then(|member| admitted(view, &taken, terms, member)) {
            Ok(member) => Some(member),
            Err(refusal) => {
                // One that leaves leaves to its end: whether it was cordoned, or was to go, is not known of it.
                let stays = |entry: &&PlacedRealServer| matches!(refusal, MemberRefusal::Accepted(_)) && !entry.leaving;
                let kept = entry.filter(stays).map(|entry| as_accepted(terms, entry));
                let kept = kept.and_then(|member| admitted(view, &taken, terms, member).ok());
                refused.insert(name.clone(), refusal.of(kept.as_ref()));
                kept
            }
        };
        if let Some(member) = admitted {
            taken.extend(destinations(terms, &member).map(|there| (there, name.clone())));
            members.insert(name, member);
        }
    }
    (members, refused)
}

/// A real server as it is placed by the last accepted spec, unless it leaves.
pub(super) fn as_placed(view: &View<'_>, subject: &Key, name: &str) -> Option<Member> {
    let entry = listed(view, subject).remove(name)?;
    (!entry.leaving).then(|| Member::as_accepted(entry))
}

/// The same, in the role that the service gives it now.
fn as_accepted(terms: &Terms<'_>, entry: &PlacedRealServer) -> Member {
    Member {
        sorry: terms.is_sorry(&entry.name, Some(entry)),
        ..Member::as_accepted(entry)
    }
}

fn admitted(view: &View<'_>, taken: &Taken, terms: &Terms<'_>, member: Member) -> Result<Member, MemberRefusal> {
    not_of_others(view, &member)?;
    terms.admit(&member).map_err(MemberRefusal::Accepted)?;
    not_taken(taken, terms, member)
}

fn destinations<'m>(terms: &Terms<'_>, member: &'m Member) -> impl Iterator<Item = (String, Option<i32>)> + use<'m> {
    let port = destination_port(terms.services, &member.way, member.port);
    member.addresses.iter().map(move |address| (address.clone(), port))
}

/// Whether two lists have an address in common.
pub(crate) fn overlap(some: &[String], others: &[String]) -> bool {
    some.iter().any(|address| others.contains(address))
}

fn not_of_others(view: &View<'_>, member: &Member) -> Result<(), MemberRefusal> {
    let Member { name, addresses, .. } = member;
    for address in addresses {
        if let Some(whose) = vip_of(view, address).or_else(|| placed_source_of(view, address)) {
            let message = format!("{address} is {whose}: give {name} the address of its own machine");
            return Err(MemberRefusal::Accepted(Refusal::new(reason::INVALID, message)));
        }
    }
    Ok(())
}

/// The member that its spec asks for.
fn asked(
    view: &View<'_>,
    stored: &StoredRealServer,
    terms: &Terms<'_>,
    listed: Option<&PlacedRealServer>,
) -> Result<Member, MemberRefusal> {
    let addresses = usable_addresses(view.snapshot, stored)?;
    let spec = &stored.spec;
    askable(spec.health_checks.as_deref()).map_err(MemberRefusal::Accepted)?;
    Ok(Member {
        name: stored.meta.key.name.clone(),
        node: spec.node_name.clone(),
        addresses,
        weight: spec.weight,
        port: spec.port,
        way: terms.way(stored, listed),
        upper_threshold: spec.upper_threshold,
        lower_threshold: spec.lower_threshold,
        health_checks: spec.health_checks.clone(),
        leaving: spec.cordoned,
        sorry: terms.is_sorry(&stored.meta.key.name, listed),
    })
}

/// Its addresses, the first of each family; from the spec, or else from its Node.
///
/// # Errors
/// The Node does not exist, or there is no address.
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
    let mut families = BTreeSet::new();
    let first = given.iter().map(IpAddr::to_string);
    let addresses: Vec<String> = first.filter(|address| families.insert(Family::of(address))).collect();
    if addresses.is_empty() {
        let message = format!("no address in {whence}: add one to addresses");
        return Err(MemberRefusal::Accepted(Refusal::new(reason::INVALID, message)));
    }
    Ok(addresses)
}

fn not_taken(taken: &Taken, terms: &Terms<'_>, member: Member) -> Result<Member, MemberRefusal> {
    let found = destinations(terms, &member).find_map(|there| Some((there.clone(), taken.get(&there)?)));
    let Some(((address, _), other)) = found else {
        return Ok(member);
    };
    let port = member
        .port
        .map(|port| format!(", with port {port}"))
        .unwrap_or_default();
    let message =
        format!("{address} is already the address of RealServer {other} in this service{port}: remove one of the two");
    Err(MemberRefusal::Accepted(Refusal::new(reason::ADDRESS_CONFLICT, message)))
}
