//! The director part of one Placement: the next step towards what is wanted.

use super::host::meets;
use super::want::DirectorWant;
use crate::snapshot::{Key, StoredPlacement};
use crate::validate::Member;
use crate::view::{HostFact, View, in_director_report};
use crds::{AddressOwner, DirectorAddress, DirectorPart, PlacedRealServer};

/// The part as it is to be; none when nothing is wanted or left.
pub(super) fn next(
    view: &View<'_>,
    subject: &Key,
    node: &str,
    placement: Option<&StoredPlacement>,
    want: Option<&DirectorWant>,
) -> Option<DirectorPart> {
    let old = placement.and_then(|placement| placement.spec.director.as_ref());
    let wanted = want.into_iter().flat_map(|want| &want.addresses);
    let mut addresses: Vec<DirectorAddress> = wanted
        .map(|(address, interface)| coming(view, placement, node, address, interface.clone()))
        .collect();
    for entry in old.into_iter().flat_map(|part| &part.addresses) {
        let is_wanted = addresses.iter().any(|wanted| wanted.address == entry.address);
        if !is_wanted && !is_withdrawn(view, placement, entry) {
            addresses.push(DirectorAddress {
                withdraw: true,
                ..entry.clone()
            });
        }
    }
    if addresses.is_empty() {
        return None;
    }
    let Some(want) = want else {
        // While it goes, the agent is told no news: what it takes back is what it was given.
        let old = old?.clone();
        return Some(DirectorPart { addresses, ..old });
    };
    let members = want.members.iter();
    let real_servers = members.map(|member| PlacedRealServer {
        name: member.name.clone(),
        node_name: member.node.clone(),
        addresses: member.addresses.clone(),
        weight: member.weight,
        forwarding_method: want.forwarding_method,
        prepared: prepared(view, subject, old, &addresses, member),
    });
    let mut real_servers: Vec<PlacedRealServer> = real_servers.collect();
    if let Some(placement) = placement {
        real_servers.extend(leaving(view, subject, placement, &addresses, &want.members));
        real_servers.truncate(MOST_REAL_SERVERS);
    }
    Some(DirectorPart {
        services: want.services.clone(),
        real_servers,
        addresses,
    })
}

/// As many as the schema takes. Whoever leaves stands behind those that stay, and is the first to have no place.
const MOST_REAL_SERVERS: usize = 512;

/// Real servers that are members no more: listed with weight 0 until the director's agent has read back that nobody new is
/// sent there. The kernel drops what belongs to a destination that is gone, so one that is taken out while clients come
/// cuts those who are in the middle of their handshake. A silent director is told at once what it is to come to.
fn leaving(
    view: &View<'_>,
    subject: &Key,
    placement: &StoredPlacement,
    addresses: &[DirectorAddress],
    members: &[Member],
) -> Vec<PlacedRealServer> {
    let old = placement.spec.director.as_ref();
    let is_quiet = |entry: &PlacedRealServer| entry.weight == 0 && view.is_settled(placement);
    // Its name or its address is another one's now: two of it cannot be in one list, nor in one table.
    let is_replaced = |entry: &PlacedRealServer| {
        let same = |member: &Member| member.name == entry.name || meets(&member.addresses, &entry.addresses);
        members.iter().any(same)
    };
    let mut all: Vec<PlacedRealServer> = old.map(|part| part.real_servers.clone()).unwrap_or_default();
    let is_off = |entry: &PlacedRealServer| entry.node_name.as_deref().is_some_and(|node| view.is_off(node));
    all.retain(|entry| !is_quiet(entry) && !is_replaced(entry) && !is_off(entry));
    all.retain(|_| view.is_fresh(&placement.spec.node_name));
    for entry in &mut all {
        entry.weight = 0;
        let member = Member {
            name: entry.name.clone(),
            node: entry.node_name.clone(),
            addresses: entry.addresses.clone(),
            weight: 0,
        };
        // Under no VIP that it was not under before.
        let may_stay = prepared(view, subject, old, addresses, &member);
        entry.prepared.retain(|address| may_stay.contains(address));
    }
    all.retain(|entry| !entry.prepared.is_empty());
    all
}

/// The next step of a VIP that is wanted here: reserved first, the node's own only after the look around.
fn coming(
    view: &View<'_>,
    placement: Option<&StoredPlacement>,
    node: &str,
    address: &str,
    interface: Option<String>,
) -> DirectorAddress {
    let old = entry(
        placement.and_then(|placement| placement.spec.director.as_ref()),
        address,
    );
    let reserved = DirectorAddress {
        address: address.to_owned(),
        interface,
        address_owner: AddressOwner::Reserved,
        withdraw: false,
    };
    let owned = DirectorAddress {
        address_owner: AddressOwner::Node,
        ..reserved.clone()
    };
    match old {
        None => reserved,
        // What is being withdrawn is withdrawn to its end before it comes back.
        Some(entry) if entry.withdraw && is_withdrawn(view, placement, entry) => reserved,
        Some(entry) if entry.withdraw => entry.clone(),
        Some(entry) => match entry.address_owner {
            AddressOwner::Node => owned,
            AddressOwner::Reserved if view.is_alone(address, node) => owned,
            AddressOwner::Reserved => reserved,
        },
    }
}

fn entry<'p>(part: Option<&'p DirectorPart>, address: &str) -> Option<&'p DirectorAddress> {
    part?.addresses.iter().find(|entry| entry.address == address)
}

/// Whether nothing of this VIP is left on the node: its agent says so about the order to withdraw, or nobody there can.
fn is_withdrawn(view: &View<'_>, placement: Option<&StoredPlacement>, entry: &DirectorAddress) -> bool {
    placement.is_some_and(|placement| {
        let confirmed = || view.is_settled(placement) && !in_director_report(placement, &entry.address);
        view.is_off(&placement.spec.node_name) || (entry.withdraw && confirmed())
    })
}

/// The VIPs under which a real server may be in the table.
fn prepared(
    view: &View<'_>,
    subject: &Key,
    old: Option<&DirectorPart>,
    addresses: &[DirectorAddress],
    member: &Member,
) -> Vec<String> {
    let listed = old.and_then(|part| part.real_servers.iter().find(|entry| is_listing(entry, member)));
    let names = addresses.iter().filter(|entry| {
        let Some(node) = &member.node else {
            return true;
        };
        let Some(listed) = listed else {
            return false;
        };
        let was_prepared = listed.prepared.contains(&entry.address);
        let was_listed = self::entry(old, &entry.address).is_some_and(|old| !old.withdraw);
        if entry.withdraw || !was_listed {
            // A VIP on its way out is no news to the agent; one that comes back starts unprepared.
            return entry.withdraw && was_prepared;
        }
        may_be_prepared(view, subject, node, &entry.address, was_prepared.into())
    });
    names.map(|entry| entry.address.clone()).collect()
}

/// Whether the listing in the Placement is this very member: another address or node is another real server.
fn is_listing(entry: &PlacedRealServer, member: &Member) -> bool {
    entry.name == member.name && entry.node_name == member.node && entry.addresses == member.addresses
}

/// What the director's Placement says now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Prepared,
    Unprepared,
}

impl From<bool> for Before {
    fn from(prepared: bool) -> Self {
        if prepared { Self::Prepared } else { Self::Unprepared }
    }
}

/// A real server that is listed under this VIP becomes prepared when its host says so and is not leaving; it is
/// unprepared when the host says so; a silent host changes nothing.
fn may_be_prepared(view: &View<'_>, subject: &Key, node: &str, address: &str, before: Before) -> bool {
    let host = view.placement(subject, node);
    let part = host.and_then(|placement| placement.spec.real_server.as_ref());
    let flags = part.and_then(|part| part.addresses.iter().find(|entry| entry.address == address));
    if flags.is_some_and(|entry| entry.withdraw) {
        return false;
    }
    // A report on an earlier spec may be from before the VIP was taken back, and given again.
    let is_settled = host.is_some_and(|host| view.is_settled(host));
    match view.host_fact(node, host, address) {
        HostFact::Unprepared => false,
        HostFact::Unknown => before == Before::Prepared,
        HostFact::Prepared => before == Before::Prepared || (is_settled && flags.is_some_and(|entry| !entry.leaving)),
    }
}
