//! The host part of real servers by TUN: what unwraps their packets, with the VIP on it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crds::{ForwardingMethod, HostPart, HostRealServer};

use super::{Problem, single_address};
use crate::state::{AddressKey, AddressScope, Facts, KernelState, Knob, Requirement, Sysctl};
use crate::tunnel::{Way, way};

/// Loose: the tunnel device has an address, so that this passes whatever `all.rp_filter` is (F21).
const LOOSE: i64 = 2;

/// Whether this node answers for a VIP itself, as its director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It is on another interface already.
    AsDirector,
    /// It is not.
    No,
}

/// The way by which packets for a VIP reach a real server here; `None` when it is not by TUN.
pub fn way_to(part: &HostPart, server: &HostRealServer, vip: IpAddr, facts: &Facts) -> Option<Result<Way, Problem>> {
    match server.forwarding_method {
        ForwardingMethod::TUN => {}
        ForwardingMethod::DR | ForwardingMethod::NAT | ForwardingMethod::FullNAT => return None,
    }
    let addresses = server.addresses.iter().map(|text| super::address(text));
    let addresses = match addresses.collect::<Result<Vec<IpAddr>, Problem>>() {
        Ok(addresses) => addresses,
        Err(problem) => return Some(Err(problem)),
    };
    let tunnel = server.tunnel.clone().unwrap_or_default();
    let way = way(&addresses, &tunnel, vip, &senders(part), facts);
    Some(way.map_err(Problem::NoWay))
}

/// The directors' own addresses.
fn senders(part: &HostPart) -> BTreeSet<IpAddr> {
    part.directors.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Adds what packets to a VIP need. A leaving real server is still listed, and keeps it.
pub(super) fn add(state: &mut KernelState, part: &HostPart, vip: IpAddr, facts: &Facts, held: Held) -> Vec<Problem> {
    let mut problems = Vec::new();
    for server in &part.real_servers {
        match way_to(part, server, vip, facts) {
            None => {}
            Some(Ok(way)) => {
                state.unwrapping.senders.extend(senders(part));
                problems.extend(unwrap(state, &way, vip, facts, held).err());
            }
            Some(Err(problem)) => problems.push(problem),
        }
    }
    problems
}

fn unwrap(state: &mut KernelState, way: &Way, vip: IpAddr, facts: &Facts, held: Held) -> Result<(), Problem> {
    let disagrees = |name: &String| {
        state
            .unwrapping
            .tunnels
            .get(name)
            .is_some_and(|other| other != &way.devices[name])
    };
    if way.devices.keys().any(disagrees) {
        return Err(Problem::ChecksumsDisagree { address: way.local });
    }
    for (name, tunnel) in &way.devices {
        state.unwrapping.tunnels.insert(name.clone(), tunnel.clone());
        if vip.is_ipv4() {
            state
                .sysctls
                .insert(Sysctl::on(name, Knob::RpFilter), Requirement::AtLeast(LOOSE));
        }
        match held {
            Held::AsDirector => {}
            Held::No => {
                let interface = name.clone();
                let key = AddressKey {
                    interface,
                    address: vip,
                };
                state.addresses.insert(key, single_address(vip, AddressScope::Host));
            }
        }
    }
    state.unwrapping.ports.extend(way.port);
    let interface = facts.foreign_addresses.get(&way.local);
    if let Some(interface) = interface.and_then(|name| facts.interfaces.get(name)) {
        let fits = way.maximum_segment_size(interface.mtu);
        let segment = state.unwrapping.segments.entry(vip).or_insert(fits);
        *segment = fits.min(*segment);
    }
    Ok(())
}
