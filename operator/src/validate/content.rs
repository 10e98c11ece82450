//! The rules on one VirtualService's own content.

use super::{Content, Directors, Group, Held, Refusal};
use crate::snapshot::StoredVirtualService;
use crate::view::View;
use crds::conditions::reason;
use crds::{PlacedService, Port};
use std::net::IpAddr;

/// The content, or the first reason why not.
pub(super) fn accept(
    view: &View<'_>,
    group: &Group,
    stored: &StoredVirtualService,
    held: Option<&Held>,
) -> Result<Content, Refusal> {
    let spec = &stored.spec;
    let addresses: Vec<String> = spec.addresses.iter().map(|entry| entry.address.clone()).collect();
    placeable(&addresses)?;
    permitted(view, group, &stored.meta.key.namespace, &addresses)?;
    for address in &addresses {
        not_somebodys_own(view, address, held)?;
    }
    let services = spec.ports.iter().map(|port| PlacedService {
        protocol: protocol(port),
        port: port.port,
        scheduler: spec.scheduler,
    });
    Ok(Content {
        group: group.name.clone(),
        directors: group
            .director()
            .map_or(Directors::AsPlaced, |node| Directors::Node(node.to_owned())),
        interface: group.interface.clone(),
        addresses,
        services: services.collect(),
        forwarding_method: spec.forwarding_method,
    })
}

/// The port's protocol; TCP when absent.
pub(crate) fn protocol(port: &Port) -> crds::Protocol {
    port.protocol.unwrap_or_default()
}

fn placeable(addresses: &[String]) -> Result<(), Refusal> {
    let mut six = Vec::new();
    for address in addresses {
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => {}
            Ok(IpAddr::V6(_)) => six.push(address.clone()),
            Err(_) => {
                let message = format!("addresses: {address} is not an IP address: write one such as 192.168.56.100");
                return Err(Refusal::new(reason::INVALID, message));
            }
        }
    }
    if six.is_empty() {
        return Ok(());
    }
    let message = format!("IPv6 VIPs are not placed by this version: remove {}", some_of(&six));
    Err(Refusal::new(reason::INVALID, message))
}

fn permitted(view: &View<'_>, group: &Group, namespace: &str, addresses: &[String]) -> Result<(), Refusal> {
    if group.allows_namespace(view, namespace) != Some(true) {
        let message = format!(
            "DirectorGroup {} does not allow namespace {namespace}: use another group, or ask its administrator to allow it \
             in allowedNamespaces",
            group.name
        );
        return Err(Refusal::new(reason::NOT_ALLOWED, message));
    }
    let outside: Vec<String> = addresses.iter().filter(|a| !group.allows_address(a)).cloned().collect();
    if outside.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} is outside the allowedCIDRs of DirectorGroup {} ({}): choose an address within",
        some_of(&outside),
        group.name,
        group.networks()
    );
    Err(Refusal::new(reason::NOT_ALLOWED, message))
}

/// A VIP that is somebody's own address would take that machine off the network. What serves already is judged
/// elsewhere: a RealServer that takes a serving VIP as its address is the one that is refused.
fn not_somebodys_own(view: &View<'_>, address: &str, held: Option<&Held>) -> Result<(), Refusal> {
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Ok(());
    };
    let own = |whose: String| {
        let message = format!("{address} is {whose}: a VIP must be an address of its own, choose another");
        Err(Refusal::new(reason::INVALID, message))
    };
    if view.snapshot.api_servers.contains(&ip) {
        return own("the API server's own address".to_owned());
    }
    let mut nodes = view.snapshot.nodes.iter();
    if let Some((node, _)) = nodes.find(|(_, facts)| facts.internal_ips.contains(&ip)) {
        return own(format!("an InternalIP of Node {node}"));
    }
    if held.is_some_and(|held| held.addresses.contains(address)) {
        return Ok(());
    }
    let mut real_servers = view.snapshot.real_servers.values();
    let same = |given: &Vec<String>| given.iter().any(|given| given == address);
    match real_servers.find(|stored| stored.spec.addresses.as_ref().is_some_and(same)) {
        Some(stored) => own(format!("the address of RealServer {}", stored.meta.key)),
        None => Ok(()),
    }
}

/// A few of them, as a sentence has room for.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        Some(_) | None => shown,
    }
}
