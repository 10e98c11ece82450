//! What unwraps packets for real servers by TUN: devices and ports, their knobs, and what of them is over.

use std::collections::BTreeSet;

use super::{Change, Plan, Stage};
use crate::ledger::{Entry, Ledger};
use crate::observed::Observed;
use crate::state::{KernelState, Sysctl};
use crate::tunnel::{self, Receiver, Recorded, difference, is_name_of_ours};

/// Adds the changes of devices and ports. Says which devices are made anew: what was read on them is gone then.
pub(super) fn add(plan: &mut Plan, desired: &KernelState, observed: &Observed, ledger: &Ledger) -> BTreeSet<String> {
    let unwrapping = &desired.unwrapping;
    let found = difference(
        (&unwrapping.tunnels, &observed.facts.tunnels),
        (&unwrapping.ports, observed.gue_ports.known()),
        Recorded {
            tunnels: &ledger.tunnels,
            ports: &ledger.gue_ports,
        },
    );
    plan.ledger
        .extend(found.new_tunnels.into_iter().map(|name| Entry::Tunnel { name }));
    plan.ledger
        .extend(found.new_ports.into_iter().map(|port| Entry::GuePort { port }));
    plan.foreign_tunnels = found.foreign_tunnels;
    plan.foreign_ports = found.foreign_ports;
    let made: BTreeSet<String> = found
        .up
        .iter()
        .filter_map(tunnel::Change::makes)
        .map(str::to_owned)
        .collect();
    knobs(plan, desired, observed, &made);
    let (up, down) = (found.up.into_iter(), found.down.into_iter());
    plan.steps
        .extend(up.map(|change| (Stage::TunnelUp, Change::Tunnel(change))));
    plan.steps
        .extend(down.map(|change| (Stage::TunnelDown, Change::Tunnel(change))));
    made
}

/// The knobs of our devices. They are in no ledger: what they were before us was nothing, and they go with the device.
fn knobs(plan: &mut Plan, desired: &KernelState, observed: &Observed, made: &BTreeSet<String>) {
    for (sysctl, requirement) in &desired.sysctls {
        let Some(device) = device(sysctl) else { continue };
        let stands = !plan.foreign_tunnels.contains(device);
        if stands && (made.contains(device) || !observed.fulfils(sysctl, *requirement)) {
            let change = Change::SetSysctl {
                sysctl: sysctl.clone(),
                value: requirement.value(),
            };
            plan.steps.push((Stage::TunnelSysctls, change));
        }
    }
}

/// The tunnel device of ours that a knob is of.
pub(super) fn device(sysctl: &Sysctl) -> Option<&str> {
    sysctl.interface.as_deref().filter(|name| is_name_of_ours(name))
}

/// Devices and ports that are neither desired nor there.
pub(super) fn settled(desired: &KernelState, observed: &Observed, ledger: &Ledger) -> Vec<Entry> {
    let unwrapping = &desired.unwrapping;
    let gone = |name: &&String| !unwrapping.tunnels.contains_key(*name) && !observed.facts.tunnels.contains_key(*name);
    let tunnels = ledger.tunnels.iter().filter(gone);
    let mut over: Vec<Entry> = tunnels.map(|name| Entry::NoTunnel { name: name.clone() }).collect();
    if let Some(known) = observed.gue_ports.known() {
        let ports = ledger.gue_ports.iter().filter(|port| !unwrapping.ports.contains(port));
        let gone = ports.filter(|port| known.get(port) != Some(&Receiver::Gue));
        over.extend(gone.map(|port| Entry::NoGuePort { port: *port }));
    }
    over
}
