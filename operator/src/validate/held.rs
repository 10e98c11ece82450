//! What serves already, read from the Placements: the only memory there is of what was accepted.

use crate::snapshot::{Key, StoredPlacement};
use crate::view::{View, living_entries, subject_of};
use crds::names::DIRECTOR_GROUP_LABEL;
use crds::{AddressOwner, PlacedService, Protocol, Takes};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What two VirtualServices cannot both have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimKey {
    /// A port of a VIP.
    Port {
        /// The VIP.
        address: String,
        /// The transport protocol.
        protocol: Protocol,
        /// The port; 0 = every one that no other service of the VIP takes.
        port: i32,
    },
    /// A firewall mark in the tables of one DirectorGroup, and of those that share nodes with it.
    Mark {
        /// One of these groups stands for all.
        scope: String,
        /// IPVS has a table for each family.
        family: Family,
        /// The mark.
        mark: i64,
    },
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port {
                address,
                protocol,
                port: 0,
            } => write!(f, "{address}:all/{}", protocol.as_str()),
            Self::Port {
                address,
                protocol,
                port,
            } => write!(f, "{address}:{port}/{}", protocol.as_str()),
            Self::Mark { scope: _, family, mark } => write!(f, "firewall mark {mark} of {family}"),
        }
    }
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    IPv4,
    IPv6,
}

impl Family {
    /// That of an address in text; only IPv6 has colons.
    pub fn of(address: &str) -> Self {
        if address.contains(':') { Self::IPv6 } else { Self::IPv4 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        })
    }
}

/// What the Placements of one VirtualService hold, without what is being withdrawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// The DirectorGroup that permitted it.
    pub group: Option<String>,
    /// The VIPs.
    pub addresses: BTreeSet<String>,
    /// Ports of the VIPs, and marks.
    pub keys: BTreeSet<ClaimKey>,
    /// Whether a director was told that it is the VIPs' owner, or they are only reserved.
    pub owned: bool,
}

/// Which DirectorGroups have their tables on the same nodes: by name, the first of those that are joined.
#[derive(Debug, Default)]
pub struct Scopes(BTreeMap<String, String>);

impl Scopes {
    /// Joins the groups that meet on a node, by selection or by what is placed there.
    pub(super) fn new<'n>(meetings: impl Iterator<Item = (&'n str, &'n str)>) -> Self {
        let mut scopes: BTreeMap<String, String> = BTreeMap::new();
        let mut on_node: BTreeMap<&str, &str> = BTreeMap::new();
        for (node, group) in meetings {
            scopes.entry(group.to_owned()).or_insert_with(|| group.to_owned());
            let first = *on_node.entry(node).or_insert(group);
            let (mine, theirs) = (scopes[group].clone(), scopes[first].clone());
            let (kept, joined) = if mine < theirs { (mine, theirs) } else { (theirs, mine) };
            for scope in scopes.values_mut().filter(|scope| **scope == joined) {
                scope.clone_from(&kept);
            }
        }
        Self(scopes)
    }

    /// The scope of a group's marks.
    pub(super) fn of(&self, group: &str) -> String {
        self.0.get(group).cloned().unwrap_or_else(|| group.to_owned())
    }
}

/// What everybody holds.
pub(super) fn all(view: &View<'_>, scopes: &Scopes) -> BTreeMap<Key, Held> {
    let mut all: BTreeMap<Key, Held> = BTreeMap::new();
    for placement in view.service_placements() {
        let kept: Vec<_> = living_entries(placement).collect();
        if kept.is_empty() {
            continue;
        }
        let held = all.entry(subject_of(placement)).or_default();
        held.group = group_of(placement).map(str::to_owned).or(held.group.take());
        held.owned |= kept.iter().any(|entry| entry.address_owner == AddressOwner::Node);
        held.addresses.extend(kept.iter().map(|entry| entry.address.clone()));
        let services = placement.spec.director.iter().flat_map(|part| &part.services);
        let scope = scopes.of(held.group.as_deref().unwrap_or_default());
        for service in services {
            held.keys
                .extend(claims(service, kept.iter().map(|entry| entry.address.as_str()), &scope));
        }
    }
    all
}

/// The DirectorGroup under which a VirtualService's Placement was written.
pub(crate) fn group_of(placement: &StoredPlacement) -> Option<&str> {
    placement.meta.labels.get(DIRECTOR_GROUP_LABEL).map(String::as_str)
}

/// What a service claims on these VIPs.
pub(super) fn claims<'v>(
    service: &PlacedService,
    addresses: impl Iterator<Item = &'v str>,
    scope: &str,
) -> BTreeSet<ClaimKey> {
    let mut claims = BTreeSet::new();
    for address in addresses {
        claims.extend(ports_of(service).map(|(protocol, port)| ClaimKey::Port {
            address: address.to_owned(),
            protocol,
            port,
        }));
        if let Some(mark) = service.firewall_mark {
            claims.insert(ClaimKey::Mark {
                scope: scope.to_owned(),
                family: Family::of(address),
                mark,
            });
        }
    }
    claims
}

/// The ports of every VIP that a service takes: its own, or those that it has marked.
pub(crate) fn ports_of(service: &PlacedService) -> impl Iterator<Item = (Protocol, i32)> {
    let own = match service.takes() {
        Takes::Port { protocol, port } => Some((protocol, port)),
        Takes::Mark(_) => None,
    };
    let marked = service.marked_ports.iter().map(|marked| (marked.protocol, marked.port));
    own.into_iter().chain(marked)
}
