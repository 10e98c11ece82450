//! Whose an address is already, in the words of a refusal.

use crate::snapshot::StoredPlacement;
use crate::view::{View, in_director_spec, subject_of};
use std::net::IpAddr;

/// Whose own address this is: the API server's, or a Node's.
pub(super) fn machine_of(view: &View<'_>, address: &str) -> Option<String> {
    let ip = address.parse::<IpAddr>().ok()?;
    if view.snapshot.api_servers.contains(&ip) {
        return Some("the API server's own address".to_owned());
    }
    let mut nodes = view.snapshot.nodes.iter();
    let (node, _) = nodes.find(|(_, facts)| facts.internal_ips.contains(&ip))?;
    Some(format!("an InternalIP of Node {node}"))
}

/// The RealServer that names this address.
pub(super) fn real_server_of(view: &View<'_>, address: &str) -> Option<String> {
    let mut real_servers = view.snapshot.real_servers.values();
    let same = |given: &Vec<String>| given.iter().any(|given| given == address);
    let stored = real_servers.find(|stored| stored.spec.addresses.as_ref().is_some_and(same))?;
    Some(format!("the address of RealServer {}", stored.meta.key))
}

/// The VirtualService for which a director is told of this VIP.
pub(super) fn vip_of(view: &View<'_>, address: &str) -> Option<String> {
    let mut carriers = view.carriers(address).iter();
    let carrier = carriers.find(|carrier| in_director_spec(carrier, address))?;
    Some(format!("a VIP of VirtualService {}", subject_of(carrier)))
}

/// The director that is told to speak by FullNAT from this address.
pub(super) fn placed_source_of(view: &View<'_>, address: &str) -> Option<String> {
    let speaks = |placement: &&StoredPlacement| {
        let parts = placement.spec.director.iter();
        let mut sources = parts.flat_map(|part| &part.full_nat_source_addresses);
        sources.any(|source| source == address)
    };
    let placement = view.service_placements().find(speaks)?;
    Some(format!(
        "a fullNAT source address of director {}",
        placement.spec.node_name
    ))
}

/// The DirectorGroup that speaks from this address, of those that are older than `than`.
pub(super) fn full_nat_of(view: &View<'_>, address: &str, than: Option<&str>) -> Option<String> {
    let age = |name: &str| {
        view.snapshot
            .director_groups
            .get(name)
            .map(|stored| stored.meta.created)
    };
    let mut groups = view.snapshot.director_groups.iter();
    let (name, _) = groups.find(|(name, stored)| {
        let sources = stored
            .spec
            .full_nat
            .iter()
            .flat_map(|full_nat| &full_nat.source_addresses);
        let is_older = than.is_none_or(|than| (age(name), name.as_str()) < (age(than), than));
        is_older && sources.into_iter().any(|source| source == address)
    })?;
    Some(format!("a fullNAT source address of DirectorGroup {name}"))
}
