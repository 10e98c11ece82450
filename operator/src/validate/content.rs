//! The rules on one VirtualService's own content.

use super::addresses::{full_nat_of, machine_of, real_server_of};
use super::{Availability, Content, Directors, Group, Held, Refusal, checks, marks};
use crate::snapshot::{Key, StoredVirtualService};
use crate::view::View;
use crds::conditions::reason;
use crds::{MarkedPort, PlacedService, Port, Scheduler, SchedulerFlag, VirtualServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The content, or the first reason why not. `marks` are those of ours, by service; `sorry` is the RealServer that is to
/// be the sorry server.
pub(super) fn accept(
    view: &View<'_>,
    group: &Group,
    stored: &StoredVirtualService,
    held: Option<&Held>,
    marks: &BTreeMap<Key, i64>,
    sorry: Option<&str>,
) -> Result<Content, Refusal> {
    let spec = &stored.spec;
    let addresses: Vec<String> = spec.addresses.iter().map(|entry| entry.address.clone()).collect();
    placeable(spec, &addresses)?;
    checks::askable(spec.health_checks.as_deref())?;
    permitted(view, group, &stored.meta.key.namespace, &addresses)?;
    for address in &addresses {
        not_somebodys_own(view, address, held)?;
    }
    Ok(Content {
        group: group.name.clone(),
        directors: group
            .director()
            .map_or(Directors::AsPlaced, |node| Directors::Node(node.to_owned())),
        interface: group.interface.clone(),
        addresses,
        services: services(view, stored, marks)?,
        forwarding_method: spec.forwarding_method,
        tunnel: spec.tunnel.clone(),
        availability: Availability::of(spec),
        sorry: sorry.map(str::to_owned),
    })
}

/// The services on every VIP: one a port, one of a mark that somebody else sets, or one of a mark of ours for all ports.
fn services(
    view: &View<'_>,
    stored: &StoredVirtualService,
    marks: &BTreeMap<Key, i64>,
) -> Result<Vec<PlacedService>, Refusal> {
    let spec = &stored.spec;
    let service = PlacedService {
        protocol: None,
        port: None,
        target_port: None,
        firewall_mark: None,
        marked_ports: Vec::new(),
        scheduler: spec.scheduler,
        scheduler_flags: flags(spec),
        persistence: spec.persistence.clone(),
        one_packet: spec.one_packet,
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    if let Some(mark) = spec.firewall_mark {
        return Ok(vec![PlacedService {
            firewall_mark: Some(mark),
            ..service
        }]);
    }
    if marks::is_across_ports(spec) {
        let Some(mark) = marks.get(&stored.meta.key) else {
            let message = format!(
                "persistence.acrossPorts: every firewall mark of {} is in use: give lvs-operator a wider --firewall-mark-range",
                view.snapshot.settings.firewall_marks
            );
            return Err(Refusal::new(reason::INVALID, message));
        };
        let marked = ports.iter().map(|port| MarkedPort {
            protocol: protocol(port),
            port: port.port,
        });
        return Ok(vec![PlacedService {
            firewall_mark: Some(*mark),
            marked_ports: marked.collect(),
            ..service
        }]);
    }
    let services = ports.iter().map(|port| PlacedService {
        protocol: Some(protocol(port)),
        port: Some(port.port),
        target_port: port.target_port.filter(|target| *target != port.port),
        ..service.clone()
    });
    Ok(services.collect())
}

/// Without fallback, a real server that is full, quiesced or leaving refuses its share of the clients.
fn flags(spec: &VirtualServiceSpec) -> Vec<SchedulerFlag> {
    match (&spec.scheduler_flags, spec.scheduler) {
        (Some(flags), _) => BTreeSet::from_iter(flags.iter().copied()).into_iter().collect(),
        (None, Scheduler::Sh) => vec![SchedulerFlag::ShFallback],
        (None, Scheduler::Mh) => vec![SchedulerFlag::MhFallback],
        (
            None,
            Scheduler::Rr
            | Scheduler::Wrr
            | Scheduler::Lc
            | Scheduler::Wlc
            | Scheduler::Lblc
            | Scheduler::Lblcr
            | Scheduler::Dh
            | Scheduler::Sed
            | Scheduler::Nq
            | Scheduler::Fo
            | Scheduler::Ovf
            | Scheduler::Twos,
        ) => Vec::new(),
    }
}

/// The port's protocol; TCP when absent.
pub(crate) fn protocol(port: &Port) -> crds::Protocol {
    port.protocol.unwrap_or_default()
}

/// What the schema says, too; a spec of before its rules may be here all the same.
fn placeable(spec: &VirtualServiceSpec, addresses: &[String]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for address in addresses {
        let Ok(address) = address.parse::<IpAddr>() else {
            let message = format!("addresses: {address} is not an IP address: write one such as 192.168.56.100");
            return Err(Refusal::new(reason::INVALID, message));
        };
        if !seen.insert(address) {
            let message = format!("addresses: {address} is there twice: remove one");
            return Err(Refusal::new(reason::INVALID, message));
        }
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    match ports.iter().find(|port| !seen.insert((protocol(port), port.port))) {
        None => Ok(()),
        Some(port) => {
            let message = format!(
                "ports: {}/{} is there twice: remove one",
                port.port,
                protocol(port).as_str()
            );
            Err(Refusal::new(reason::INVALID, message))
        }
    }
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
    let own = |whose: String| {
        let message = format!("{address} is {whose}: a VIP must be an address of its own, choose another");
        Refusal::new(reason::INVALID, message)
    };
    if let Some(whose) = machine_of(view, address) {
        return Err(own(whose));
    }
    if held.is_some_and(|held| held.addresses.contains(address)) {
        return Ok(());
    }
    match real_server_of(view, address).or_else(|| full_nat_of(view, address, None)) {
        Some(whose) => Err(own(whose)),
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
