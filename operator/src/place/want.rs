//! What a VirtualService is to have on each node in the end, whatever is there now.

use super::wait::{blocker, give_way};
use crate::snapshot::{Key, StoredPlacement};
use crate::validate::{Availability, Content, Directors, Member, Service, Shared, Standing, Validated, group_of};
use crate::view::{View, living_entries};
use crds::{ForwardingMethod, HostRealServer, PlacedService, UndeclaredPorts};
use std::collections::{BTreeMap, BTreeSet};

/// The end state of one VirtualService.
#[derive(Debug, Default)]
pub(super) struct Want {
    /// Directors by node.
    pub(super) directors: BTreeMap<String, DirectorWant>,
    /// Hosts by node.
    pub(super) hosts: BTreeMap<String, HostWant>,
    /// The DirectorGroup that permits it; none = as labelled.
    pub(super) group: Option<String>,
    /// It goes on as placed, because somebody else has not let go yet: the words.
    pub(super) wait: Option<String>,
}

/// A node's end state as a director.
#[derive(Clone, Debug)]
pub(super) struct DirectorWant {
    /// VIPs, with their interface.
    pub(super) addresses: Vec<(String, Option<String>)>,
    /// Ports, or marks.
    pub(super) services: Vec<PlacedService>,
    /// Real servers, by name.
    pub(super) members: Vec<Member>,
    /// Checks, quorum, drain and slow start.
    pub(super) availability: Availability,
    /// What becomes of packets to the VIPs that no service takes.
    pub(super) undeclared_ports: UndeclaredPorts,
    /// What FullNAT speaks to real servers from.
    pub(super) full_nat_source_addresses: Vec<String>,
    /// The DirectorGroup that permits it.
    pub(super) group: Option<String>,
}

/// A node's end state as a host.
#[derive(Debug, Default)]
pub(super) struct HostWant {
    /// VIPs.
    pub(super) addresses: Vec<String>,
    /// Its real servers.
    pub(super) real_servers: Vec<HostRealServer>,
    /// The directors' own addresses, where packets or replies depend on them.
    pub(super) directors: Vec<String>,
}

/// The end state of this VirtualService; nothing when it is gone.
pub(super) fn of(view: &View<'_>, validated: &Validated, subject: &Key) -> Want {
    let Some(service) = validated.services.get(subject) else {
        return Want::default();
    };
    let end = |group: Option<String>, directors| finish(view, validated, subject, service, (group, directors));
    let permitting = || permitting(view, subject).map(str::to_owned);
    match &service.standing {
        Standing::Withdraw => Want::default(),
        Standing::Keep { forbidden } => end(permitting(), goes_on(view, validated, subject, service, forbidden)),
        Standing::Serve(content) => match blocker(view, subject, content) {
            None => end(Some(content.group.clone()), serve(view, subject, service, content)),
            Some(wait) => {
                let placed = goes_on(view, validated, subject, service, &BTreeSet::new());
                Want {
                    wait: Some(wait),
                    ..end(permitting(), give_way(validated, subject, content, placed))
                }
            }
        },
    }
}

fn serve(view: &View<'_>, subject: &Key, service: &Service, content: &Content) -> BTreeMap<String, DirectorWant> {
    let want = DirectorWant {
        addresses: content
            .addresses
            .iter()
            .map(|address| (address.clone(), content.interface.clone()))
            .collect(),
        services: content.services.clone(),
        members: service.members.values().cloned().collect(),
        availability: content.availability.clone(),
        undeclared_ports: UndeclaredPorts::default(),
        full_nat_source_addresses: Vec::new(),
        group: None,
    };
    match &content.directors {
        Directors::Node(node) => BTreeMap::from([(node.clone(), want)]),
        Directors::AsPlaced => {
            let placed = as_placed(view, subject, service, &BTreeSet::new());
            placed.into_keys().map(|node| (node, want.clone())).collect()
        }
    }
}

/// The last accepted state, on the node that its group selects by now: VIPs that several services share move together,
/// the refused ones among them too. The old director is withdrawn only when the new one is told everything, because the
/// Placements are the only memory of what was accepted.
fn goes_on(
    view: &View<'_>,
    validated: &Validated,
    subject: &Key,
    service: &Service,
    forbidden: &BTreeSet<String>,
) -> BTreeMap<String, DirectorWant> {
    let mut placed = as_placed(view, subject, service, forbidden);
    let group = permitting(view, subject).and_then(|name| validated.groups.get(name));
    let Some(node) = group.and_then(|group| group.director()).map(str::to_owned) else {
        return placed;
    };
    let Some(mut wanted) = placed.get(&node).or_else(|| placed.values().next()).cloned() else {
        return placed;
    };
    let others = placed.values().flat_map(|want| want.addresses.iter().cloned());
    let missing: Vec<_> = others.filter(|address| !wanted.addresses.contains(address)).collect();
    if placed.contains_key(&node) && missing.is_empty() {
        return BTreeMap::from([(node, wanted)]);
    }
    wanted.addresses.extend(missing);
    placed.insert(node, wanted);
    placed
}

/// The DirectorGroup under which the service was placed.
fn permitting<'a>(view: &View<'a>, subject: &Key) -> Option<&'a str> {
    let placements = view.placements(subject).iter();
    let mut kept = placements.filter(|placement| living_entries(placement).next().is_some());
    kept.find_map(|there| group_of(there))
}

/// The directors that are there, with the VIPs and ports that they have, and the members as they are now.
fn as_placed(
    view: &View<'_>,
    subject: &Key,
    service: &Service,
    forbidden: &BTreeSet<String>,
) -> BTreeMap<String, DirectorWant> {
    let mut directors = BTreeMap::new();
    for placement in view.placements(subject) {
        let Some(part) = &placement.spec.director else {
            continue;
        };
        let kept = living_entries(placement).filter(|entry| !forbidden.contains(&entry.address));
        let addresses: Vec<_> = kept
            .map(|entry| (entry.address.clone(), entry.interface.clone()))
            .collect();
        if addresses.is_empty() {
            continue;
        }
        let want = DirectorWant {
            addresses,
            services: part.services.clone(),
            members: service.members.values().cloned().collect(),
            availability: Availability::placed(part),
            undeclared_ports: part.undeclared_ports,
            full_nat_source_addresses: part.full_nat_source_addresses.clone(),
            group: None,
        };
        directors.insert(placement.spec.node_name.clone(), want);
    }
    directors
}

/// Adds the hosts and what the group shares, and takes out of the directors whoever's host Placement is being deleted: it
/// is withdrawn first.
fn finish(
    view: &View<'_>,
    validated: &Validated,
    subject: &Key,
    service: &Service,
    (group, mut directors): (Option<String>, BTreeMap<String, DirectorWant>),
) -> Want {
    let ending = |member: &Member| {
        let placement = member.host().and_then(|node| view.placement(subject, node));
        placement.is_some_and(|placement| placement.meta.deleting)
    };
    let shared = group
        .as_ref()
        .and_then(|name| validated.groups.get(name)?.shared.as_ref());
    let mut vips = Vec::new();
    for (node, want) in &mut directors {
        want.members.retain(|member| !ending(member));
        want.group.clone_from(&group);
        share(want, shared, view.placement(subject, node));
        for (address, _) in &want.addresses {
            if !vips.contains(address) {
                vips.push(address.clone());
            }
        }
    }
    let members = service.members.values();
    let mut hosts = hosts(members.filter(|member| !vips.is_empty() && !ending(member)), &vips);
    let senders = senders(view, subject, group.as_deref(), &directors);
    for host in hosts.values_mut() {
        if host.real_servers.iter().any(knows_directors) {
            host.directors.clone_from(&senders);
        }
    }
    Want {
        directors,
        hosts,
        group,
        wait: None,
    }
}

/// What the group says of all its services; where that is refused, or there is no such group, as it is placed.
fn share(want: &mut DirectorWant, shared: Option<&Shared>, placement: Option<&StoredPlacement>) {
    if let Some(shared) = shared {
        want.undeclared_ports = shared.undeclared_ports;
        want.full_nat_source_addresses
            .clone_from(&shared.full_nat_source_addresses);
    } else if let Some(part) = placement.and_then(|placement| placement.spec.director.as_ref()) {
        want.undeclared_ports = part.undeclared_ports;
        want.full_nat_source_addresses
            .clone_from(&part.full_nat_source_addresses);
    }
}

/// The hosts of these members, with their VIPs in the order of `vips`; the directors are not known here.
fn hosts<'m>(members: impl Iterator<Item = &'m Member>, vips: &[String]) -> BTreeMap<String, HostWant> {
    let mut hosts: BTreeMap<String, HostWant> = BTreeMap::new();
    for member in members {
        let Some((node, accepts)) = host_of(member, vips) else {
            continue;
        };
        let host = hosts.entry(node.to_owned()).or_default();
        for vip in accepts {
            if !host.addresses.contains(vip) {
                host.addresses.push(vip.clone());
            }
        }
        host.real_servers.push(member.guest());
    }
    for host in hosts.values_mut() {
        host.addresses
            .sort_by_key(|address| vips.iter().position(|vip| vip == address));
    }
    hosts
}

/// The host that has to know of a real server, and the VIPs that it has to accept for it: none for NAT, whose replies only
/// have to find back.
fn host_of<'a>(member: &'a Member, vips: &'a [String]) -> Option<(&'a str, Vec<&'a String>)> {
    let node = member.node.as_deref()?;
    match member.way.forwarding_method {
        ForwardingMethod::DR | ForwardingMethod::TUN => {
            Some((node, vips.iter().filter(|vip| member.serves(vip)).collect()))
        }
        ForwardingMethod::NAT => Some((node, Vec::new())),
        ForwardingMethod::FullNAT => None,
    }
}

/// Tunnel packets are taken from directors only, and NAT's replies go back to one.
pub(super) fn knows_directors(guest: &HostRealServer) -> bool {
    match guest.forwarding_method {
        ForwardingMethod::TUN | ForwardingMethod::NAT => true,
        ForwardingMethod::DR | ForwardingMethod::FullNAT => false,
    }
}

/// The own addresses of all directors that send, or may still do so.
fn senders(
    view: &View<'_>,
    subject: &Key,
    group: Option<&str>,
    directors: &BTreeMap<String, DirectorWant>,
) -> Vec<String> {
    let coming = directors.keys().map(|node| (group, node.as_str()));
    let placed = view.placements(subject).iter();
    let placed = placed.filter(|placement| placement.spec.director.is_some());
    let placed = placed.map(|placement| (group_of(placement), placement.spec.node_name.as_str()));
    let all = coming
        .chain(placed)
        .flat_map(|(group, node)| view.director_addresses(group, node));
    let all: BTreeSet<String> = all.collect();
    all.into_iter().take(MOST_DIRECTOR_ADDRESSES).collect()
}

/// As many as the schema takes.
const MOST_DIRECTOR_ADDRESSES: usize = 256;
