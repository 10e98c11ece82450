//! Who has to wait until somebody else has let go: one IPVS service has one owner on a node.

use super::want::DirectorWant;
use crate::snapshot::{Key, StoredPlacement};
use crate::validate::{ClaimKey, Content, Directors, Family, Standing, Validated, ports_of};
use crate::view::{View, in_director_spec, subject_of};
use crds::{DirectorPart, PlacedService, Protocol};
use std::collections::{BTreeMap, BTreeSet};

/// Who waits goes on with what is placed, less what it does not ask for any more and somebody else was granted: two that
/// exchange their VIPs or ports would otherwise wait for each other for ever.
pub(super) fn give_way(
    validated: &Validated,
    subject: &Key,
    content: &Content,
    mut directors: BTreeMap<String, DirectorWant>,
) -> BTreeMap<String, DirectorWant> {
    let is_granted = |address: &String, mine: &PlacedService| {
        let mut others = validated.services.iter().filter(|(other, _)| *other != subject);
        others.any(|(_, other)| match &other.standing {
            Standing::Serve(theirs) => {
                let on_address = theirs.addresses.contains(address);
                let same = |service| meet(mine, service, on_address);
                theirs.services.iter().any(same)
            }
            Standing::Keep { .. } | Standing::Withdraw => false,
        })
    };
    for want in directors.values_mut() {
        let services = &want.services;
        let stays = |(address, _): &(String, Option<String>)| {
            content.addresses.contains(address) || !services.iter().any(|service| is_granted(address, service))
        };
        want.addresses.retain(stays);
        let addresses = &want.addresses;
        want.services.retain(|service| {
            let is_asked = content.services.iter().any(|asked| asked.takes() == service.takes());
            is_asked || !addresses.iter().any(|(address, _)| is_granted(address, service))
        });
    }
    directors.retain(|_, want| !want.addresses.is_empty());
    directors
}

/// Whether two services take the same packets: a port on a common VIP, or a mark.
fn meet(a: &PlacedService, b: &PlacedService, share_address: bool) -> bool {
    let same_mark = a.firewall_mark.is_some() && a.firewall_mark == b.firewall_mark;
    let same_port = || ports_of(a).any(|port| ports_of(b).any(|other| port == other));
    same_mark || (share_address && same_port())
}

/// Who still carries what this service newly asks for. Two owners of one IPVS service on one node would undo each other.
pub(super) fn blocker(view: &View<'_>, subject: &Key, content: &Content) -> Option<String> {
    let mine: Vec<(&str, &DirectorPart)> = view
        .placements(subject)
        .iter()
        .filter_map(|placement| Some((placement.spec.node_name.as_str(), placement.spec.director.as_ref()?)))
        .collect();
    content
        .addresses
        .iter()
        .find_map(|address| {
            let carriers = view
                .carriers(address)
                .iter()
                .filter(|there| subject_of(there) != *subject);
            let had = |port: &(Protocol, i32)| {
                let on_address = |part: &&DirectorPart| part.addresses.iter().any(|entry| entry.address == *address);
                let mut parts = mine.iter().map(|(_, part)| *part).filter(on_address);
                parts.any(|part| {
                    part.services
                        .iter()
                        .any(|service| ports_of(service).any(|there| there == *port))
                })
            };
            carriers.into_iter().find_map(|placement| {
                let in_spec = in_director_spec(placement, address);
                let services = placement.spec.director.iter().flat_map(|part| &part.services);
                let mut theirs = services.filter(|_| in_spec).flat_map(ports_of);
                let asked = |port| {
                    content
                        .services
                        .iter()
                        .any(|service| ports_of(service).any(|mine| mine == port))
                };
                let (protocol, port) = theirs.find(|port| asked(*port) && !had(port))?;
                let key = ClaimKey::Port {
                    address: address.clone(),
                    protocol,
                    port,
                };
                Some(withdrawing(&key.to_string(), placement))
            })
        })
        .or_else(|| mark_blocker(view, subject, content, &mine))
}

fn mark_blocker(view: &View<'_>, subject: &Key, content: &Content, mine: &[(&str, &DirectorPart)]) -> Option<String> {
    let asked: BTreeSet<i64> = content
        .services
        .iter()
        .filter_map(|service| service.firewall_mark)
        .collect();
    if asked.is_empty() {
        return None;
    }
    let nodes: BTreeSet<&str> = match &content.directors {
        Directors::Node(node) => BTreeSet::from([node.as_str()]),
        Directors::AsPlaced => mine.iter().map(|(node, _)| *node).collect(),
    };
    let had = |node: &str, mark| {
        let mut parts = mine.iter().filter(|(there, _)| *there == node);
        parts.any(|(_, part)| part.services.iter().any(|service| service.firewall_mark == Some(mark)))
    };
    let families: BTreeSet<Family> = content.addresses.iter().map(|address| Family::of(address)).collect();
    let mut others = view.service_placements().filter(|placement| {
        let node = placement.spec.node_name.as_str();
        nodes.contains(node) && subject_of(placement) != *subject
    });
    others.find_map(|placement| {
        let part = placement.spec.director.as_ref()?;
        let meets = part
            .addresses
            .iter()
            .any(|entry| families.contains(&Family::of(&entry.address)));
        let mut marks = part.services.iter().filter_map(|service| service.firewall_mark);
        let node = &placement.spec.node_name;
        let mark = marks.find(|mark| meets && asked.contains(mark) && !had(node, *mark))?;
        Some(withdrawing(&format!("firewall mark {mark}"), placement))
    })
}

fn withdrawing(what: &str, placement: &StoredPlacement) -> String {
    format!(
        "{what} is still being withdrawn from VirtualService {} on {}",
        subject_of(placement),
        placement.spec.node_name
    )
}
