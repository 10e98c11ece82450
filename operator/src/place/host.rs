//! The host part of one Placement: the next step towards what is wanted.

use super::want::HostWant;
use crate::snapshot::{Key, StoredPlacement};
use crate::validate::{overlap, serves, way_of, way_of_guest, ways_agree};
use crate::view::{View, in_director_report, is_same_guest};
use crds::{Forwarding, HostAddress, HostPart, HostRealServer, PlacedRealServer, RealServerReport};

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
    if addresses.is_empty() && want.is_none_or(|want| want.real_servers.is_empty()) {
        return None;
    }
    let directors = match want {
        Some(want) => want.directors.clone(),
        // While it goes, the agent is told no news: what it takes back is what it was given.
        None => old.map(|old| old.directors.clone()).unwrap_or_default(),
    };
    Some(HostPart {
        real_servers: real_servers(view, subject, placement, want),
        directors,
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
        guests.iter().all(|guest| {
            let sender = Sender {
                node,
                guest,
                by: By::AnyHost,
            };
            sender.is_released(view, subject, &entry.address)
        })
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
        let listed = report.is_some_and(|report| report.addresses.contains(&entry.address));
        entry.withdraw && (view.is_off(&placement.spec.node_name) || (view.is_settled(placement) && !listed))
    })
}

/// The real servers that are wanted here, and those that a director may still send to, by the way by which it does.
fn real_servers(
    view: &View<'_>,
    subject: &Key,
    placement: Option<&StoredPlacement>,
    want: Option<&HostWant>,
) -> Vec<HostRealServer> {
    let wanted = want.map(|want| want.real_servers.clone()).unwrap_or_default();
    let part = placement.and_then(|placement| Some((placement, placement.spec.real_server.as_ref()?)));
    let Some((placement, part)) = part else {
        return wanted;
    };
    let goes = |guest: &&HostRealServer| !wanted.iter().any(|there| is_same_guest(there, guest));
    let mut all: Vec<HostRealServer> = Vec::new();
    for guest in part.real_servers.iter().filter(goes) {
        let sender = Sender {
            node: &placement.spec.node_name,
            guest,
            by: By::This,
        };
        let mut vips = part.addresses.iter();
        let is_free =
            guest.leaving && want.is_some() && vips.all(|vip| sender.is_released(view, subject, &vip.address));
        // What needs nothing of the host leaves nothing behind.
        if guest.forwarding_method.is_host_prepared() && !is_free {
            all.push(HostRealServer {
                leaving: true,
                ..guest.clone()
            });
        }
    }
    let stands_aside = |guest: &HostRealServer| all.iter().any(|there| !side_by_side(there, guest));
    let wanted: Vec<HostRealServer> = wanted.into_iter().filter(|guest| !stands_aside(guest)).collect();
    all.extend(wanted);
    all.sort_by(|a, b| (&a.name, !a.leaving).cmp(&(&b.name, !b.leaving)));
    all
}

/// Whether a host can be prepared for both: it unwraps GRE to one address in one mode.
fn side_by_side(a: &HostRealServer, b: &HostRealServer) -> bool {
    !overlap(&a.addresses, &b.addresses) || ways_agree(&way_of_guest(a), &way_of_guest(b))
}

/// Which directors' entries hold a host in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Those of this very real server, by this way.
    This,
    /// Those of its addresses, by any way that needs the host.
    AnyHost,
}

/// A real server on a host, as somebody to whom directors may send.
#[derive(Clone, Copy)]
struct Sender<'a> {
    node: &'a str,
    guest: &'a HostRealServer,
    by: By,
}

impl Sender<'_> {
    /// Whether no director sends to this real server on this host under this VIP, nor is told to, nor may yet do so without
    /// anybody knowing.
    fn is_released(self, view: &View<'_>, subject: &Key, vip: &str) -> bool {
        // A director's Placement that cannot be read may say anything.
        !view.has_unreadable(subject)
            && view
                .placements(subject)
                .iter()
                .all(|placement| self.is_released_by(view, placement, vip))
    }

    fn is_released_by(self, view: &View<'_>, placement: &StoredPlacement, vip: &str) -> bool {
        if placement.spec.director.is_none() && placement.status.director.is_none() {
            return true;
        }
        let director = placement.spec.node_name.as_str();
        let part = placement.spec.director.as_ref();
        let entries = || part.into_iter().flat_map(|part| &part.real_servers);
        let is_told = part.is_some_and(|part| {
            part.addresses
                .iter()
                .any(|there| there.address == vip && !there.withdraw)
        }) && entries().any(|entry| self.is_used_by(entry, vip));
        if is_told {
            return false;
        }
        if view.is_off(director) || view.is_silent(director) {
            return true;
        }
        let moved = |there: &String| entries().any(|entry| self.is_elsewhere(entry) && entry.addresses.contains(there));
        let mine: Vec<String> = self
            .guest
            .addresses
            .iter()
            .filter(|there| !moved(there))
            .cloned()
            .collect();
        // Serving as the spec says is not serving as it said before.
        let is_settled_otherwise = |report: &RealServerReport| {
            let mut same = entries().filter(|entry| entry.name == report.name && entry.addresses == report.addresses);
            report.state.is_serving() && same.any(|entry| !self.is_used_by(entry, vip))
        };
        let mut report = placement.status.director.iter().flat_map(|report| &report.real_servers);
        let sends = in_director_report(placement, vip)
            && report.any(|entry| {
                entry.state.may_be_in_table() && overlap(&entry.addresses, &mine) && !is_settled_otherwise(entry)
            });
        view.is_settled(placement) && !sends
    }

    /// An address that the spec gives to another host is that host's affair; one without a host may well be here.
    fn is_elsewhere(self, entry: &PlacedRealServer) -> bool {
        entry.node_name.as_deref().is_some_and(|other| other != self.node)
    }

    /// Whether a director that lists this sends here under the VIP, or is about to.
    fn is_used_by(self, entry: &PlacedRealServer, vip: &str) -> bool {
        let now = way_of(entry);
        let mut ways = std::iter::once(&now).chain(&entry.next);
        let Self { node: _, guest, by } = self;
        let is_meant = match by {
            By::This => entry.name == guest.name && entry.addresses == guest.addresses,
            By::AnyHost => overlap(&entry.addresses, &guest.addresses),
        };
        let concerns = |way: &Forwarding| {
            serves(&entry.addresses, way, vip)
                && match by {
                    By::This => *way == way_of_guest(guest),
                    By::AnyHost => way.forwarding_method.is_host_prepared(),
                }
        };
        is_meant && !self.is_elsewhere(entry) && ways.any(concerns)
    }
}
