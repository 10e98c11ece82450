//! What forwarding methods need of the director's own stack, as narrowly as the kernel allows.
//!
//! | needed by | knob | why |
//! |---|---|---|
//! | NAT, FullNAT over IPv4, masquerade | `forwarding` of the interface that replies come in by | IPVS sees them in the FORWARD hook |
//! | NAT over IPv4 | `send_redirects` of that interface, and of `all` | a client on its link would be told the way around the director |
//! | NAT, FullNAT over IPv6, masquerade | IPv6 `forwarding`, which is `all`'s alone | as above |
//! | the same | `accept_ra` 2 where it is 1 | else the kernel drops the default route that it learned |
//! | FullNAT | `vs.conntrack` | the source is rewritten by conntrack |
//! | NAT behind another's `forward` chain that drops | `vs.conntrack` | its "established, accept" knows conntrack only |
//! | persistence | `vs.expire_quiescent_template` | else a client stays with a real server of weight 0 |

use std::net::IpAddr;

use crds::{DirectorPart, ForwardingMethod, RouterPart};
use ipvs::Timeouts;

use super::Problem;
use crate::ruleset::{Firewall, InterfaceName, Masquerade};
use crate::state::{Facts, KernelState, Knob, Requirement, Sysctl};

/// What the services of a part need.
pub(super) fn of_director(state: &mut KernelState, part: &DirectorPart, facts: &Facts) {
    if part.addresses.iter().all(|entry| entry.withdraw) {
        return;
    }
    for server in &part.real_servers {
        match server.forwarding_method {
            ForwardingMethod::DR | ForwardingMethod::TUN => continue,
            // "Established, accept" is what such firewalls let replies through by: they must see the connections.
            ForwardingMethod::NAT if facts.firewalls.iter().any(Firewall::blocks_replies) => {
                require(state, Sysctl::of_node(Knob::Conntrack), Requirement::Exactly(1));
            }
            ForwardingMethod::NAT => {}
            ForwardingMethod::FullNAT => require(state, Sysctl::of_node(Knob::Conntrack), Requirement::Exactly(1)),
        }
        for address in server.addresses.iter().filter_map(|text| text.parse().ok()) {
            // What this host answers itself is not forwarded.
            if facts.is_own(address) {
                continue;
            }
            let interface = facts.interface_to(address);
            forward(state, address, interface, facts);
            if server.forwarding_method == ForwardingMethod::NAT && address.is_ipv4() {
                keep_silent_about_shorter_ways(state, interface);
            }
        }
    }
    if part.services.iter().any(|service| service.persistence.is_some()) {
        require(
            state,
            Sysctl::of_node(Knob::ExpireQuiescentTemplate),
            Requirement::Exactly(1),
        );
    }
}

/// What a membership in a DirectorGroup needs. `rules` is what was understood of its source NAT.
pub(super) fn of_group(
    state: &mut KernelState,
    part: &RouterPart,
    rules: &[Masquerade],
    facts: &Facts,
) -> Vec<Problem> {
    for rule in rules {
        masquerade(state, rule, facts);
    }
    let mut problems = Vec::new();
    if let Some(timeouts) = part.timeouts {
        let seconds = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
        let wanted = Timeouts {
            tcp: seconds(timeouts.tcp_seconds),
            tcp_fin: seconds(timeouts.tcp_fin_seconds),
            udp: seconds(timeouts.udp_seconds),
        };
        state.timeouts = state.timeouts.or(wanted);
        if !wanted.hold_in(state.timeouts) {
            problems.push(Problem::TimeoutsDisagree);
        }
    }
    problems
}

fn masquerade(state: &mut KernelState, rule: &Masquerade, facts: &Facts) {
    let inside = rule.network.addr();
    forward(state, inside, facts.interface_to(inside), facts);
    // Replies come back by the interface that the packets left by: the named one, or any that a route leads out by.
    let named = rule.out_interface.as_ref().map(InterfaceName::as_str);
    let routes = facts.routes.iter().filter(|_| named.is_none());
    let any =
        routes.filter(|route| route.network.addr().is_ipv4() == inside.is_ipv4() && !route.network.contains(&inside));
    for outside in any.map(|route| route.interface.as_str()).chain(named) {
        forward(state, inside, Some(outside), facts);
    }
}

fn forward(state: &mut KernelState, address: IpAddr, interface: Option<&str>, facts: &Facts) {
    match address {
        IpAddr::V4(_) => {
            if let Some(interface) = interface {
                require(state, Sysctl::on(interface, Knob::Forwarding), Requirement::Exactly(1));
            }
        }
        IpAddr::V6(_) => {
            for (name, _) in facts
                .interfaces
                .iter()
                .filter(|(_, interface)| interface.can_receive_arp())
            {
                let learning = Requirement::Instead { of: 1, value: 2 };
                require(state, Sysctl::on(name, Knob::AcceptRa), learning);
            }
            require(state, Sysctl::of_node(Knob::Ipv6Forwarding), Requirement::Exactly(1));
        }
    }
}

fn keep_silent_about_shorter_ways(state: &mut KernelState, interface: Option<&str>) {
    if let Some(interface) = interface {
        // Either of the two being 1 is enough for the kernel.
        for sysctl in [
            Sysctl::of_all(Knob::SendRedirects),
            Sysctl::on(interface, Knob::SendRedirects),
        ] {
            require(state, sysctl, Requirement::Exactly(0));
        }
    }
}

fn require(state: &mut KernelState, sysctl: Sysctl, requirement: Requirement) {
    state.sysctls.insert(sysctl, requirement);
}
