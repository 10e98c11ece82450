//! The host part: VIPs that a real server accepts, and silence about them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crds::{ForwardingMethod, HostPart, HostRealServer};

use super::decapsulation::{self, Held};
use super::{Problem, address, not_of_host, single_address};
use crate::state::{AddressKey, AddressScope, Facts, KernelState, LOOPBACK, Requirement, SILENCE, Sysctl};
use crate::view::View;

/// The VIPs that this node accepts for its real servers.
pub fn hosted(view: &View) -> BTreeSet<IpAddr> {
    let parts = view
        .placements
        .values()
        .filter_map(|placed| placed.spec.real_server.as_ref());
    let entries = parts.flat_map(|part| &part.addresses).filter(|entry| !entry.withdraw);
    entries.filter_map(|entry| entry.address.parse().ok()).collect()
}

/// Adds the VIPs, unless this node answers for them itself (`held`); and the interfaces that must be silent about them.
pub(super) fn add(state: &mut KernelState, part: &HostPart, facts: &Facts, held: &BTreeSet<IpAddr>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in part.addresses.iter().filter(|entry| !entry.withdraw) {
        let vip = match address(&entry.address).and_then(|vip| not_of_host(vip, facts).map(|()| vip)) {
            Ok(vip) => vip,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        // An IPv6 address of `lo` is not answered for on any link.
        let accepts = |server: &HostRealServer| server.forwarding_method.is_host_prepared();
        if vip.is_ipv4() && part.real_servers.iter().any(accepts) {
            silence(state, facts);
        }
        let by_tunnel = match held.contains(&vip) {
            true => Held::AsDirector,
            false => Held::No,
        };
        problems.extend(decapsulation::add(state, part, vip, facts, by_tunnel));
        if by_tunnel == Held::No && is_on_loopback(part) {
            let key = AddressKey {
                interface: LOOPBACK.to_owned(),
                address: vip,
            };
            state.addresses.insert(key, single_address(vip, AddressScope::Host));
        }
    }
    problems
}

/// Whether any real server here is reached by direct routing. A leaving one is still listed, and keeps its VIP.
fn is_on_loopback(part: &HostPart) -> bool {
    part.real_servers.iter().any(|server| match server.forwarding_method {
        ForwardingMethod::DR => true,
        ForwardingMethod::TUN | ForwardingMethod::NAT | ForwardingMethod::FullNAT => false,
    })
}

fn silence(state: &mut KernelState, facts: &Facts) {
    for (name, interface) in &facts.interfaces {
        if interface.can_receive_arp() {
            for knob in SILENCE {
                let least = Requirement::AtLeast(knob.silent().unwrap_or_default());
                state.sysctls.insert(Sysctl::on(name, knob), least);
            }
        }
    }
}
