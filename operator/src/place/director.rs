//! The director part of one Placement: the next step towards what is wanted.

use super::listing::Listings;
use super::want::DirectorWant;
use crate::snapshot::{Key, StoredPlacement};
use crate::validate::Availability;
use crate::view::{View, in_director_report};
use crds::{AddressOwner, DirectorAddress, DirectorPart, PlacedRealServer, PlacedService};

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
    let sources = want.map_or(&[][..], |want| &want.full_nat_source_addresses);
    let is_alone = |address: &str| view.is_alone(address, node) && view.are_sources_alone(sources, node);
    let mut addresses: Vec<DirectorAddress> = wanted
        .map(|(address, interface)| coming(view, placement, address, interface.clone(), is_alone))
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
    let listings = Listings {
        view,
        subject,
        node,
        group: want.group.as_deref(),
        old,
        addresses: &addresses,
    };
    let mut real_servers: Vec<PlacedRealServer> = want.members.iter().map(|member| listings.coming(member)).collect();
    if let Some(placement) = placement {
        real_servers.extend(listings.leaving(placement, want));
        real_servers.truncate(MOST_REAL_SERVERS);
    }
    let Availability {
        health_checks,
        quorum,
        drain,
        slow_start,
    } = want.availability.clone();
    Some(DirectorPart {
        services: services(old, want, &real_servers),
        real_servers,
        addresses,
        health_checks,
        quorum,
        drain: Some(drain),
        slow_start,
        undeclared_ports: want.undeclared_ports,
        full_nat_source_addresses: want.full_nat_source_addresses.clone(),
    })
}

/// As many as the schema takes. Whoever leaves stands behind those that stay, and is the first to have no place.
const MOST_REAL_SERVERS: usize = 512;

/// The services that are wanted. A target port stays as it is placed while a real server is still reached by it, because
/// its host is not ready for another method yet; those that are ready keep the port of the VIP anyway.
fn services(old: Option<&DirectorPart>, want: &DirectorWant, real_servers: &[PlacedRealServer]) -> Vec<PlacedService> {
    let is_behind = |entry: &PlacedRealServer| entry.next.is_some() && entry.forwarding_method.translates_ports();
    let former = old.filter(|_| real_servers.iter().any(is_behind));
    let former = former.map_or(&[][..], |part| &part.services);
    let services = want.services.iter().map(|service| {
        let placed = former.iter().find(|placed| placed.takes() == service.takes());
        PlacedService {
            target_port: placed.map_or(service.target_port, |placed| placed.target_port),
            ..service.clone()
        }
    });
    services.collect()
}

/// The next step of a VIP that is wanted here: reserved first, the node's own only after the look around.
fn coming(
    view: &View<'_>,
    placement: Option<&StoredPlacement>,
    address: &str,
    interface: Option<String>,
    is_alone: impl Fn(&str) -> bool,
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
            AddressOwner::Reserved if is_alone(address) => owned,
            AddressOwner::Reserved => reserved,
        },
    }
}

/// What a director part says of a VIP.
pub(super) fn entry<'p>(part: Option<&'p DirectorPart>, address: &str) -> Option<&'p DirectorAddress> {
    part?.addresses.iter().find(|entry| entry.address == address)
}

/// Whether nothing of this VIP is left on the node: its agent says so about the order to withdraw, or nobody there can.
fn is_withdrawn(view: &View<'_>, placement: Option<&StoredPlacement>, entry: &DirectorAddress) -> bool {
    placement.is_some_and(|placement| {
        let confirmed = || view.is_settled(placement) && !in_director_report(placement, &entry.address);
        view.is_off(&placement.spec.node_name) || (entry.withdraw && confirmed())
    })
}
