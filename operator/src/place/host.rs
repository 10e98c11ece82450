//! The host part of one Placement: the next step towards what is wanted.

use super::want::HostWant;
use crate::snapshot::{Key, StoredPlacement};
use crate::view::{View, in_director_report};
use crds::{DestinationState, HostAddress, HostPart, HostRealServer, PlacedRealServer};

/// The part as it is to be; none when nothing is wanted or left.
pub(super) fn next(
    view: &View<'_>,
    subject: &Key,
    placement: Option<&StoredPlacement>,
    want: Option<&HostWant>,
) -> Option<HostPart> {
    let old = placement.and_then(|placement| placement.spec.real_server.as_ref());
    let wanted = want.into_iter().flat_map(|want| &want.addresses);
    let mut addresses: Vec<HostAddress> = wanted.map(|address| coming(view, placement, address)).collect();
    for entry in old.into_iter().flat_map(|part| &part.addresses) {
        if addresses.iter().any(|wanted| wanted.address == entry.address) {
            continue;
        }
        addresses.extend(going(view, subject, placement, entry));
    }
    if addresses.is_empty() {
        return None;
    }
    Some(HostPart {
        forwarding_method: want
            .map(|want| want.forwarding_method)
            .or_else(|| old.map(|part| part.forwarding_method))
            .unwrap_or_default(),
        real_servers: real_servers(view, subject, placement, want),
        addresses,
    })
}

fn fresh(address: &str) -> HostAddress {
    HostAddress {
        address: address.to_owned(),
        leaving: false,
        withdraw: false,
    }
}

/// A VIP that is wanted here: any mark of leaving goes, but what is being withdrawn is withdrawn to its end first.
fn coming(view: &View<'_>, placement: Option<&StoredPlacement>, address: &str) -> HostAddress {
    let part = placement.and_then(|placement| placement.spec.real_server.as_ref());
    let old = part.and_then(|part| part.addresses.iter().find(|entry| entry.address == address));
    match old {
        Some(entry) if entry.withdraw && !is_withdrawn(view, placement, entry) => entry.clone(),
        Some(_) | None => fresh(address),
    }
}

/// The next step of a VIP that is not wanted here any more: the mark, then the withdrawal, then nothing.
fn going(
    view: &View<'_>,
    subject: &Key,
    placement: Option<&StoredPlacement>,
    entry: &HostAddress,
) -> Option<HostAddress> {
    if is_withdrawn(view, placement, entry) {
        return None;
    }
    let node = placement.map_or("", |placement| &placement.spec.node_name);
    let part = placement.and_then(|placement| placement.spec.real_server.as_ref());
    let guests = part.map_or(&[][..], |part| &part.real_servers);
    let is_free = || {
        guests
            .iter()
            .all(|guest| is_released(view, subject, node, guest, &entry.address))
    };
    Some(HostAddress {
        leaving: true,
        withdraw: entry.withdraw || (entry.leaving && is_free()),
        address: entry.address.clone(),
    })
}

fn is_withdrawn(view: &View<'_>, placement: Option<&StoredPlacement>, entry: &HostAddress) -> bool {
    placement.is_some_and(|placement| {
        let report = placement.status.real_server.as_ref();
        let listed = report.is_some_and(|report| report.addresses.iter().any(|there| there.address == entry.address));
        entry.withdraw && (view.is_off(&placement.spec.node_name) || (view.is_settled(placement) && !listed))
    })
}

/// The real servers that are wanted here, and those that a director may still send to.
fn real_servers(
    view: &View<'_>,
    subject: &Key,
    placement: Option<&StoredPlacement>,
    want: Option<&HostWant>,
) -> Vec<HostRealServer> {
    let mut real_servers: Vec<HostRealServer> = want.map(|want| want.real_servers.clone()).unwrap_or_default();
    if let Some(placement) = placement
        && let Some(part) = &placement.spec.real_server
    {
        let node = placement.spec.node_name.as_str();
        let held = |guest: &&HostRealServer| {
            let mut addresses = part.addresses.iter();
            want.is_none() || !addresses.all(|entry| is_released(view, subject, node, guest, &entry.address))
        };
        let leaving = part.real_servers.iter().filter(|guest| !real_servers.contains(guest));
        let leaving: Vec<HostRealServer> = leaving.filter(held).cloned().collect();
        real_servers.extend(leaving);
    }
    real_servers.sort();
    real_servers
}

/// Whether no director sends to this real server on this host under this VIP, nor is told to, nor may yet do so without
/// anybody knowing.
fn is_released(view: &View<'_>, subject: &Key, node: &str, guest: &HostRealServer, address: &str) -> bool {
    // A director's Placement that cannot be read may say anything.
    !view.has_unreadable(subject)
        && view
            .placements(subject)
            .iter()
            .all(|placement| director_released(view, placement, node, guest, address))
}

fn director_released(
    view: &View<'_>,
    placement: &StoredPlacement,
    node: &str,
    guest: &HostRealServer,
    address: &str,
) -> bool {
    if placement.spec.director.is_none() && placement.status.director.is_none() {
        return true;
    }
    let director = placement.spec.node_name.as_str();
    let part = placement.spec.director.as_ref();
    let entries = || part.into_iter().flat_map(|part| &part.real_servers);
    // An address that the spec gives to another host is that host's affair; one without a host may well be here.
    let elsewhere = |entry: &PlacedRealServer| entry.node_name.as_deref().is_some_and(|other| other != node);
    let is_told = part.is_some_and(|part| part.addresses.iter().any(|vip| vip.address == address && !vip.withdraw))
        && entries().any(|entry| !elsewhere(entry) && meets(&entry.addresses, &guest.addresses));
    if is_told {
        return false;
    }
    if view.is_off(director) || view.is_silent(director) {
        return true;
    }
    let moved = |there: &String| entries().any(|entry| elsewhere(entry) && entry.addresses.contains(there));
    let mine: Vec<String> = guest.addresses.iter().filter(|there| !moved(there)).cloned().collect();
    let report = placement.status.director.iter().flat_map(|report| &report.real_servers);
    let sends = in_director_report(placement, address)
        && report
            .into_iter()
            .any(|entry| entry.state != DestinationState::Unprepared && meets(&entry.addresses, &mine));
    view.is_settled(placement) && !sends
}

/// Whether two lists have an address in common.
pub(super) fn meets(some: &[String], others: &[String]) -> bool {
    some.iter().any(|address| others.contains(address))
}
