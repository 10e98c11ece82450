//! What serves already, read from the Placements: the only memory there is of what was accepted.

use crate::snapshot::{Key, StoredPlacement};
use crate::view::{View, subject_of};
use crds::names::DIRECTOR_GROUP_LABEL;
use crds::{AddressOwner, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What two VirtualServices cannot both have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// The VIP.
    pub address: String,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: i32,
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.address, self.port, protocol_name(self.protocol))
    }
}

/// The protocol as people write it.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// What the Placements of one VirtualService hold, without what is being withdrawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// The DirectorGroup that permitted it.
    pub group: Option<String>,
    /// The VIPs.
    pub addresses: BTreeSet<String>,
    /// VIPs times ports.
    pub keys: BTreeSet<ClaimKey>,
    /// Whether a director was told that it is the VIPs' owner, or they are only reserved.
    pub owned: bool,
}

/// What everybody holds.
pub(super) fn all(view: &View<'_>) -> BTreeMap<Key, Held> {
    let mut all: BTreeMap<Key, Held> = BTreeMap::new();
    for placement in view.snapshot.placements.values() {
        let kept: Vec<_> = kept_addresses(placement).collect();
        if kept.is_empty() {
            continue;
        }
        let held = all.entry(subject_of(placement)).or_default();
        held.group = placement
            .meta
            .labels
            .get(DIRECTOR_GROUP_LABEL)
            .cloned()
            .or(held.group.take());
        held.owned |= kept.iter().any(|(_, owner)| *owner == AddressOwner::Node);
        held.addresses
            .extend(kept.iter().map(|(address, _)| (*address).to_owned()));
        held.keys
            .extend(carried_keys(placement).filter(|key| kept.iter().any(|(address, _)| key.address == *address)));
    }
    all
}

fn kept_addresses(placement: &StoredPlacement) -> impl Iterator<Item = (&str, AddressOwner)> {
    let entries = placement.spec.director.iter().flat_map(|part| &part.addresses);
    let kept = entries.filter(|entry| !entry.withdraw);
    kept.map(|entry| (entry.address.as_str(), entry.address_owner))
}

/// VIPs times ports of a Placement, those that are being withdrawn included.
pub(crate) fn carried_keys(placement: &StoredPlacement) -> impl Iterator<Item = ClaimKey> {
    let director = placement.spec.director.iter();
    director.flat_map(|part| {
        part.addresses.iter().flat_map(|entry| {
            part.services.iter().map(|service| ClaimKey {
                address: entry.address.clone(),
                protocol: service.protocol,
                port: service.port,
            })
        })
    })
}
