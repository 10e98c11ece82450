//! The real servers of one director part: who is listed, by which way, and under which VIPs it is in the table.

use super::director::entry;
use super::want::{DirectorWant, knows_directors};
use crate::snapshot::{Key, StoredPlacement};
use crate::validate::{Member, destination_port, overlap, way_of, ways_agree};
use crate::view::{HostFact, View, is_same_guest};
use crds::{DirectorAddress, DirectorPart, Forwarding, PlacedRealServer, PlacedService};

/// What listings depend on.
pub(super) struct Listings<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) subject: &'a Key,
    /// The director's node.
    pub(super) node: &'a str,
    /// The DirectorGroup that permits it.
    pub(super) group: Option<&'a str>,
    /// The part as it is.
    pub(super) old: Option<&'a DirectorPart>,
    /// The VIPs as they are to be.
    pub(super) addresses: &'a [DirectorAddress],
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

impl Listings<'_> {
    /// The next step of a member. One that is to be reached in another way keeps the old one until its host is proven ready
    /// for the new; one that nobody reaches now changes at once, and is proven then.
    pub(super) fn coming(&self, member: &Member) -> PlacedRealServer {
        let listed = self.listed(member);
        let new = PlacedRealServer {
            name: member.name.clone(),
            node_name: member.node.clone(),
            addresses: member.addresses.clone(),
            weight: member.weight,
            port: member.port.filter(|_| member.way.forwarding_method.translates_ports()),
            forwarding_method: member.way.forwarding_method,
            tunnel: member.way.tunnel.clone(),
            upper_threshold: member.upper_threshold,
            lower_threshold: member.lower_threshold,
            health_checks: member.health_checks.clone(),
            leaving: member.leaving,
            sorry: member.sorry,
            next: None,
            prepared: self.prepared(member, listed),
        };
        let Some(listed) = listed.filter(|listed| way_of(listed) != member.way) else {
            return new;
        };
        let before = Member {
            way: way_of(listed),
            ..member.clone()
        };
        let kept = self.prepared(&before, Some(listed));
        // What the new way cannot serve, for want of an address of the family, is not waited for.
        let mut waited_for = kept.iter().filter(|vip| member.serves(vip));
        if waited_for.all(|vip| new.prepared.contains(vip)) {
            return new;
        }
        if !ways_agree(&before.way, &member.way) {
            return PlacedRealServer {
                prepared: Vec::new(),
                ..new
            };
        }
        PlacedRealServer {
            port: listed.port,
            forwarding_method: before.way.forwarding_method,
            tunnel: before.way.tunnel,
            next: Some(member.way.clone()),
            prepared: kept,
            ..new
        }
    }

    /// Real servers that are members no more: listed as leaving until the director's agent has read back that nothing of
    /// them is in the table any more. It drains them: the kernel drops what belongs to a destination that is gone, so one
    /// that is taken out while clients come would cut them. A director that is silent for longer than any drain has been
    /// waited for long enough, and is told what it is to come to; and so is one that is off.
    pub(super) fn leaving(&self, placement: &StoredPlacement, want: &DirectorWant) -> Vec<PlacedRealServer> {
        let view = self.view;
        let has_left = |entry: &PlacedRealServer| entry.leaving && view.has_let_go(placement, entry);
        // Its name or its destination is another one's now: two of it cannot be in one list, nor in one table.
        let is_replaced = |entry: &PlacedRealServer| {
            let same =
                |member: &Member| member.name == entry.name || is_same_destination(&want.services, member, entry);
            want.members.iter().any(same)
        };
        let mut all: Vec<PlacedRealServer> = self.old.map(|part| part.real_servers.clone()).unwrap_or_default();
        let is_off = |entry: &PlacedRealServer| entry.node_name.as_deref().is_some_and(|node| view.is_off(node));
        all.retain(|entry| !has_left(entry) && !is_replaced(entry) && !is_off(entry));
        all.retain(|_| !view.is_silent(&placement.spec.node_name) && !view.is_off(&placement.spec.node_name));
        for entry in &mut all {
            entry.leaving = true;
            entry.next = None;
            let member = Member::placed(entry, way_of(entry));
            // Under no VIP that it was not under before.
            let may_stay = self.prepared(&member, Some(entry));
            entry.prepared.retain(|address| may_stay.contains(address));
        }
        all.retain(|entry| !entry.prepared.is_empty());
        all
    }

    /// The listing of this very member: another address or node is another real server.
    fn listed(&self, member: &Member) -> Option<&PlacedRealServer> {
        let mut entries = self.old?.real_servers.iter();
        entries.find(|entry| {
            entry.name == member.name && entry.node_name == member.node && entry.addresses == member.addresses
        })
    }

    /// The VIPs under which a real server may be in the table by the member's way.
    fn prepared(&self, member: &Member, listed: Option<&PlacedRealServer>) -> Vec<String> {
        let names = self.addresses.iter().filter(|vip| {
            if !member.serves(&vip.address) {
                return false;
            }
            let Some(node) = member.host() else {
                return true;
            };
            // It must have been listed by this way, or announced as about to be.
            let Some(listed) = listed.filter(|listed| is_announced(listed, &member.way)) else {
                return false;
            };
            let was_prepared = way_of(listed) == member.way && listed.prepared.contains(&vip.address);
            let was_listed = entry(self.old, &vip.address).is_some_and(|old| !old.withdraw);
            if vip.withdraw || !was_listed {
                // A VIP on its way out is no news to the agent; one that comes back starts unprepared.
                return vip.withdraw && was_prepared;
            }
            self.may_be_prepared(member, node, &vip.address, was_prepared.into())
        });
        names.map(|vip| vip.address.clone()).collect()
    }

    /// A real server that is listed under this VIP becomes prepared when its host says so and nothing of it is leaving
    /// there; it is unprepared when the host says so; a silent host changes nothing.
    fn may_be_prepared(&self, member: &Member, node: &str, address: &str, before: Before) -> bool {
        let guest = member.guest();
        let host = self.view.placement(self.subject, node);
        let part = host.and_then(|placement| placement.spec.real_server.as_ref());
        let flags = part.and_then(|part| part.addresses.iter().find(|entry| entry.address == address));
        if flags.is_some_and(|entry| entry.withdraw) {
            return false;
        }
        // A report on an earlier spec may be from before the VIP was taken back, and given again.
        let is_settled = host.is_some_and(|host| self.view.is_settled(host));
        let stays = || {
            let listed = part.and_then(|part| part.real_servers.iter().find(|there| is_same_guest(there, &guest)));
            flags.is_some_and(|entry| !entry.leaving) && listed.is_some_and(|listed| !listed.leaving)
        };
        // A host that does not know this director would not unwrap what it sends.
        let knows = || {
            !knows_directors(&guest)
                || part.is_some_and(|part| self.senders().iter().all(|sender| part.directors.contains(sender)))
        };
        match self.view.host_fact(node, host, &guest, address) {
            HostFact::Unprepared => false,
            HostFact::Unknown => before == Before::Prepared,
            HostFact::Prepared => before == Before::Prepared || (is_settled && stays() && knows()),
        }
    }

    /// What this director speaks from.
    fn senders(&self) -> Vec<String> {
        self.view.director_addresses(self.group, self.node)
    }
}

/// Whether the entry lists its real server by this way, or names it as the next.
fn is_announced(listed: &PlacedRealServer, by: &Forwarding) -> bool {
    way_of(listed) == *by || listed.next.as_ref() == Some(by)
}

fn is_same_destination(services: &[PlacedService], member: &Member, entry: &PlacedRealServer) -> bool {
    let ports = [
        destination_port(services, &member.way, member.port),
        destination_port(services, &way_of(entry), entry.port),
    ];
    overlap(&member.addresses, &entry.addresses) && ports[0] == ports[1]
}
