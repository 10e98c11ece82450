//! What a VirtualService is to have on each node in the end, whatever is there now.

use crate::snapshot::{Key, StoredPlacement};
use crate::validate::{Content, Directors, Member, Service, Standing, Validated, carried_keys};
use crate::view::View;
use crds::names::DIRECTOR_GROUP_LABEL;
use crds::{ForwardingMethod, HostRealServer, PlacedService};
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
    /// Ports.
    pub(super) services: Vec<PlacedService>,
    /// Real servers, by name.
    pub(super) members: Vec<Member>,
    /// How packets reach them.
    pub(super) forwarding_method: ForwardingMethod,
}

/// A node's end state as a host.
#[derive(Debug, Default)]
pub(super) struct HostWant {
    /// VIPs.
    pub(super) addresses: Vec<String>,
    /// Its real servers.
    pub(super) real_servers: Vec<HostRealServer>,
    /// How packets arrive.
    pub(super) forwarding_method: ForwardingMethod,
}

/// The end state of this VirtualService; nothing when it is gone.
pub(super) fn of(view: &View<'_>, validated: &Validated, subject: &Key) -> Want {
    let Some(service) = validated.services.get(subject) else {
        return Want::default();
    };
    let kept = |directors| Want {
        group: permitting(view, subject).map(str::to_owned),
        ..finish(view, subject, directors, service)
    };
    match &service.standing {
        Standing::Withdraw => Want::default(),
        Standing::Keep { forbidden } => kept(goes_on(view, validated, subject, service, forbidden)),
        Standing::Serve(content) => match blocker(view, subject, content) {
            None => Want {
                group: Some(content.group.clone()),
                ..finish(view, subject, serve(view, subject, service, content), service)
            },
            Some(wait) => {
                let placed = goes_on(view, validated, subject, service, &BTreeSet::new());
                Want {
                    wait: Some(wait),
                    ..kept(give_way(validated, subject, content, placed))
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
        forwarding_method: content.forwarding_method,
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
    let kept = |placement: &&&StoredPlacement| {
        let mut entries = placement.spec.director.iter().flat_map(|part| &part.addresses);
        entries.any(|entry| !entry.withdraw)
    };
    let mut labels = view
        .placements(subject)
        .iter()
        .filter(kept)
        .map(|there| &there.meta.labels);
    labels
        .find_map(|labels| labels.get(DIRECTOR_GROUP_LABEL))
        .map(String::as_str)
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
        let kept = part
            .addresses
            .iter()
            .filter(|entry| !entry.withdraw && !forbidden.contains(&entry.address));
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
            forwarding_method: part
                .real_servers
                .first()
                .map(|entry| entry.forwarding_method)
                .unwrap_or_default(),
        };
        directors.insert(placement.spec.node_name.clone(), want);
    }
    directors
}

/// Who waits goes on with what is placed, less what it does not ask for any more and somebody else was granted: two that
/// exchange their VIPs or ports would otherwise wait for each other for ever.
fn give_way(
    validated: &Validated,
    subject: &Key,
    content: &Content,
    mut directors: BTreeMap<String, DirectorWant>,
) -> BTreeMap<String, DirectorWant> {
    let is_same = |a: &PlacedService, b: &PlacedService| a.protocol == b.protocol && a.port == b.port;
    let is_granted = |address: &String, port: &PlacedService| {
        let mut others = validated.services.iter().filter(|(other, _)| *other != subject);
        others.any(|(_, other)| match &other.standing {
            Standing::Serve(theirs) => {
                theirs.addresses.contains(address) && theirs.services.iter().any(|service| is_same(service, port))
            }
            Standing::Keep { .. } | Standing::Withdraw => false,
        })
    };
    for want in directors.values_mut() {
        let services = &want.services;
        let stays = |(address, _): &(String, Option<String>)| {
            content.addresses.contains(address) || !services.iter().any(|port| is_granted(address, port))
        };
        want.addresses.retain(stays);
        let addresses = &want.addresses;
        want.services.retain(|port| {
            let is_asked = content.services.iter().any(|service| is_same(service, port));
            is_asked || !addresses.iter().any(|(address, _)| is_granted(address, port))
        });
    }
    directors.retain(|_, want| !want.addresses.is_empty());
    directors
}

/// Who still carries what this service newly asks for. Two owners of one IPVS service on one node would undo each other.
fn blocker(view: &View<'_>, subject: &Key, content: &Content) -> Option<String> {
    let mine: BTreeSet<_> = view
        .placements(subject)
        .iter()
        .flat_map(|placement| carried_keys(placement))
        .collect();
    for address in &content.addresses {
        for placement in view.carriers(address) {
            let other = crate::view::subject_of(placement);
            if other == *subject {
                continue;
            }
            let theirs = carried_keys(placement).filter(|key| key.address == *address && !mine.contains(key));
            let asked = |protocol, port| {
                content
                    .services
                    .iter()
                    .any(|s| s.protocol == protocol && s.port == port)
            };
            if let Some(key) = theirs.into_iter().find(|key| asked(key.protocol, key.port)) {
                return Some(format!(
                    "{key} is still being withdrawn from VirtualService {other} on {}",
                    placement.spec.node_name
                ));
            }
        }
    }
    None
}

/// Adds the hosts, and takes out of the directors whoever's host Placement is being deleted: it is withdrawn first.
fn finish(view: &View<'_>, subject: &Key, mut directors: BTreeMap<String, DirectorWant>, service: &Service) -> Want {
    let ending = |member: &Member| {
        let placement = member.node.as_deref().and_then(|node| view.placement(subject, node));
        placement.is_some_and(|placement| placement.meta.deleting)
    };
    let mut addresses = Vec::new();
    let mut forwarding_method = ForwardingMethod::default();
    for want in directors.values_mut() {
        want.members.retain(|member| !ending(member));
        forwarding_method = want.forwarding_method;
        for (address, _) in &want.addresses {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
    }
    let mut hosts: BTreeMap<String, HostWant> = BTreeMap::new();
    let placed = service
        .members
        .values()
        .filter(|member| !addresses.is_empty() && !ending(member));
    for (member, node) in placed.filter_map(|member| Some((member, member.node.as_ref()?))) {
        let host = hosts.entry(node.clone()).or_insert_with(|| HostWant {
            addresses: addresses.clone(),
            real_servers: Vec::new(),
            forwarding_method,
        });
        host.real_servers.push(HostRealServer {
            name: member.name.clone(),
            addresses: member.addresses.clone(),
        });
    }
    Want {
        directors,
        hosts,
        group: None,
        wait: None,
    }
}
