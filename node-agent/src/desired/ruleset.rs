//! From Placements to the packet filter and the address translation beside IPVS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{DirectorPart, ForwardingMethod, PlacedRealServer, PlacedService, RouterPart, UndeclaredPorts};
use ipnet::IpNet;
use ipvs::{DestinationKey, Family, ServiceKey};

use super::Problem;
use super::services::{destinations, keys, protocol};
use crate::ruleset::{Flow, InterfaceName, Local, Masquerade, Outer, Ruleset, Source};
use crate::state::{Facts, KernelState};
use crate::tunnel::GuePort;

/// Adds what the services of a part need on these of its VIPs.
pub(super) fn of_director(ruleset: &mut Ruleset, part: &DirectorPart, vips: &BTreeSet<IpAddr>, facts: &Facts) {
    let is_guarded = match part.undeclared_ports {
        UndeclaredPorts::Drop => true,
        UndeclaredPorts::Accept => false,
    };
    if is_guarded {
        ruleset.guarded.extend(vips);
    }
    for placed in &part.services {
        mark(ruleset, placed, vips);
        for (key, of) in keys(placed, vips.iter().copied()) {
            for server in &part.real_servers {
                match server.forwarding_method {
                    ForwardingMethod::DR | ForwardingMethod::TUN if is_guarded && is_here(server, facts) => {
                        ruleset.local.extend(of.iter().map(|vip| local(key, *vip)));
                    }
                    ForwardingMethod::DR | ForwardingMethod::TUN => {}
                    ForwardingMethod::NAT if is_guarded => {
                        let destinations = destinations_of(server, placed, key, &of);
                        ruleset.replies.extend(destinations.filter_map(|to| reply(key, to)));
                    }
                    ForwardingMethod::NAT => {}
                    ForwardingMethod::FullNAT => {
                        for to in destinations_of(server, placed, key, &of) {
                            let source = source(part, to.address);
                            ruleset.full_nat.entry(Flow::of(key, to)).or_insert(source);
                        }
                    }
                }
            }
        }
    }
}

/// The rules of source NAT that a membership asks for, and what is wrong with the others.
pub(super) fn masquerades(part: &RouterPart) -> (Vec<Masquerade>, Vec<Problem>) {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for rule in &part.masquerade {
        match masquerade(rule) {
            Ok(rule) => rules.push(rule),
            Err(problem) => problems.push(problem),
        }
    }
    (rules, problems)
}

/// Adds what guards and fits the tunnels that are unwrapped here. A device with one `remote` takes nobody else's packets,
/// and stands beside somebody else's device for the same address, whose packets are not ours to judge.
pub(super) fn of_unwrapping(state: &mut KernelState) {
    let (ruleset, unwrapping, addresses) = (&mut state.ruleset, &state.unwrapping, &state.addresses);
    for (name, tunnel) in &unwrapping.tunnels {
        // Names of ours are plain.
        let Ok(device) = InterfaceName::try_from(name.as_str()) else {
            continue;
        };
        let on_device = addresses.keys().filter(|key| key.interface == *name);
        ruleset
            .tunnels
            .insert(device, on_device.map(|key| key.address).collect());
        let Some(local) = tunnel.local else { continue };
        let of_family = |port: &&GuePort| port.family == Family::of(local);
        let ports = unwrapping.ports.iter().filter(of_family);
        // Also beside somebody else's device: what comes out of a port of ours and is not from a director would be its.
        ruleset
            .outer
            .extend(ports.map(|port| Outer::Port { local, port: port.port }));
        if tunnel.remote.is_none() {
            let arrivals = tunnel.kind.outer_protocols().iter();
            ruleset.outer.extend(arrivals.map(|protocol| Outer::Protocol {
                local,
                protocol: *protocol,
            }));
        }
    }
    ruleset.directors.extend(&unwrapping.senders);
    ruleset.segments.extend(&unwrapping.segments);
}

fn masquerade(rule: &crds::Masquerade) -> Result<Masquerade, Problem> {
    let crds::Masquerade {
        source_cidr,
        out_interface,
        source_addresses,
    } = rule;
    let bad = |kind, value: &str| Problem::BadValue {
        kind,
        value: value.to_owned(),
    };
    let network: IpNet = source_cidr.parse().map_err(|_| bad("network", source_cidr))?;
    let interface = |name: &String| InterfaceName::try_from(name.as_str());
    let out_interface = out_interface.as_ref().map(interface).transpose();
    let addresses = source_addresses.iter().map(|text| super::address(text));
    let addresses: BTreeSet<IpAddr> = addresses.collect::<Result<_, _>>()?;
    if let Some(other) = addresses
        .iter()
        .find(|address| address.is_ipv4() != network.addr().is_ipv4())
    {
        return Err(bad("source address of the network's family", &other.to_string()));
    }
    Ok(Masquerade {
        network: network.trunc(),
        out_interface: out_interface
            .map_err(|name| bad("name of an interface that a firewall rule may hold", &name.0))?,
        addresses,
    })
}

/// `acrossPorts`: the mark that makes several ports one service.
fn mark(ruleset: &mut Ruleset, placed: &PlacedService, vips: &BTreeSet<IpAddr>) {
    let Some(mark) = placed.firewall_mark.and_then(|mark| u32::try_from(mark).ok()) else {
        return;
    };
    for marked in &placed.marked_ports {
        let Ok(port) = u16::try_from(marked.port) else { continue };
        for vip in vips {
            let key = (*vip, protocol(marked.protocol), port);
            ruleset.marks.entry(key).or_insert(mark);
        }
    }
}

/// Whether a real server is on this node. Also one that is not prepared yet, or is leaving: another director may send.
fn is_here(server: &PlacedRealServer, facts: &Facts) -> bool {
    let mut addresses = server.addresses.iter().filter_map(|text| text.parse().ok());
    addresses.any(|address| facts.is_own(address))
}

/// As they are in the table; one that is no destination there is none here, and said to be none there.
fn destinations_of(
    server: &PlacedRealServer,
    placed: &PlacedService,
    key: ServiceKey,
    vips: &BTreeSet<IpAddr>,
) -> impl Iterator<Item = DestinationKey> {
    let entries = destinations(server, placed, key.family(), vips).unwrap_or_default();
    entries.into_iter().map(|(key, _)| key)
}

fn local(key: ServiceKey, vip: IpAddr) -> Local {
    match key {
        ServiceKey::Address {
            protocol,
            address: _,
            port: 0,
        } => Local::Protocol { vip, protocol },
        ServiceKey::Address {
            protocol,
            address: _,
            port,
        } => Local::Port { vip, protocol, port },
        ServiceKey::FirewallMark { family: _, mark } => Local::Mark { vip, mark: mark.get() },
    }
}

/// What a NAT real server answers from. Of a service of every port that would be whatever it says at all, also as a client
/// of others: there, nothing is dropped.
fn reply(key: ServiceKey, to: DestinationKey) -> Option<(IpAddr, ipvs::Protocol, u16)> {
    match key {
        ServiceKey::Address {
            protocol,
            address: _,
            port: _,
        } if to.port != 0 => Some((to.address, protocol, to.port)),
        ServiceKey::Address { .. } | ServiceKey::FirewallMark { family: _, mark: _ } => None,
    }
}

fn source(part: &DirectorPart, server: IpAddr) -> Source {
    let addresses = part
        .full_nat_source_addresses
        .iter()
        .filter_map(|text| text.parse().ok());
    let of_family = addresses.filter(|address: &IpAddr| address.is_ipv4() == server.is_ipv4());
    let addresses: BTreeSet<IpAddr> = of_family.collect();
    if addresses.is_empty() {
        Source::Interface
    } else {
        Source::Addresses(addresses)
    }
}

/// Flows that are FullNAT no longer, whose destination IPVS keeps: their connections live on, and need connection tracking
/// while they do. `live` are real servers and ports of connections that IPVS still has; `None` while that is unknown.
pub fn retired(
    desired: &Ruleset,
    observed: &Ruleset,
    table: &ipvs::Table,
    live: Option<&BTreeSet<DestinationKey>>,
) -> BTreeMap<Flow, Source> {
    let gone = observed
        .full_nat
        .keys()
        .filter(|flow| !desired.full_nat.contains_key(*flow));
    let gone: BTreeSet<Flow> = gone.copied().collect();
    if gone.is_empty() {
        return BTreeMap::new();
    }
    let is_there = |to: &DestinationKey| live.is_none_or(|live| has_connection(live, to));
    let pairs = table
        .services
        .iter()
        .flat_map(|(key, service)| service.destinations.keys().map(|to| (*key, *to)));
    let kept = pairs.filter(|(_, to)| is_there(to)).map(|(key, to)| Flow::of(key, to));
    kept.filter(|flow| gone.contains(flow))
        .map(|flow| (flow, Source::Retired))
        .collect()
}

/// A destination of every port has connections on any.
fn has_connection(live: &BTreeSet<DestinationKey>, to: &DestinationKey) -> bool {
    let last = u16::MAX * u16::from(to.port == 0);
    let ports = to.port..=to.port.max(last);
    let (first, last) = (
        DestinationKey::new(to.address, *ports.start()),
        DestinationKey::new(to.address, *ports.end()),
    );
    live.range(first..=last).next().is_some()
}
