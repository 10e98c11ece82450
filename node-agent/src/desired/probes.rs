//! What steers the probes that go to real servers by the way of clients' packets: a service by firewall mark for each way,
//! with one destination; and what lets their answers in, and nothing else.
//!
//! | needed | why (measured) |
//! |---|---|
//! | an address of the node to ask from | the active director would ask from the VIP, and answer itself |
//! | `accept_local` where the answers come in, IPv4 | an answer's source is the VIP, which is an address of this node |
//! | `rp_filter` there that is not strict, where the VIP is of another interface | strict drops what comes in by another interface than its source is routed by |
//! | a rule on what comes from outside and says it is from here | a real server that forwards and has no VIP sends a probe back; without its mark it would be balanced to another real server, which answers, or run in circles until its TTL ends; and `accept_local` would open the guard of undeclared ports |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crds::PROBE_MARKS;
use ipvs::{Family, ServiceKey};

use crate::checks::{self, Steering, Way, Ways};
use crate::observed::Observed;
use crate::plan::{Change, Plan};
use crate::ruleset::Firewall;
use crate::state::{AddressKey, Facts, KernelState, Knob, Requirement, Sysctl};
use crate::view::View;

/// Of `rp_filter` (ip-sysctl.rst): strict is 1, loose 2.
const NOT_STRICT: Requirement = Requirement::OtherThan { of: 1, value: 2 };

/// kube-proxy ORs 0x4000 (masquerade) and 0x8000 (drop) into marks, and acts on them.
const OF_KUBE_PROXY: u32 = 0xc000;

/// Whether a service steers probes, and serves nobody.
pub fn is_for_probes(key: &ServiceKey) -> bool {
    match key {
        ServiceKey::FirewallMark { family: _, mark } => PROBE_MARKS.contains(&mark.get()),
        ServiceKey::Address {
            protocol: _,
            address: _,
            port: _,
        } => false,
    }
}

/// Adds what the ways of all Placements need, and says how they are taken when the kernel has it.
pub(super) fn add(state: &mut KernelState, view: &View, facts: &Facts) -> Ways {
    let mut vips: BTreeMap<Way, BTreeSet<IpAddr>> = BTreeMap::new();
    for placed in view.placements.values() {
        for (way, of) in checks::ways(&placed.spec) {
            vips.entry(way).or_default().extend(of);
        }
    }
    let is_held = |vip: &IpAddr| AddressKey::all_of(&state.addresses, *vip).any(|key| !key.is_of_host());
    let mut ways = Ways {
        elsewhere: vips.values().flatten().filter(|vip| !is_held(vip)).copied().collect(),
        ..Ways::default()
    };
    let marks = marks(vips.keys(), &PROBE_MARKS);
    for (way, of) in &vips {
        let mut walls = facts.firewalls.iter().filter(|firewall| firewall.is_of(way.family));
        let is_ours = !of.is_subset(&ways.elsewhere);
        let is_free = is_ours && !facts.is_own(way.server) && !walls.any(Firewall::blocks_answers);
        let steering = match (marks.get(way), facts.source_to(way.server, way.family)) {
            (Some(mark), Some(source)) if is_free => Steering::Marked { mark: *mark, source },
            (Some(_) | None, _) => Steering::Unsteered,
        };
        ways.open.insert(*way, steering);
        if let Steering::Marked { mark, source } = steering {
            steer(state, (*way, mark, source), of, facts);
        }
    }
    if !state.ruleset.marks.is_empty() {
        state.ruleset.probe_marks = marks.into_values().collect();
    }
    ways
}

fn steer(state: &mut KernelState, (way, mark, source): (Way, u32, IpAddr), vips: &BTreeSet<IpAddr>, facts: &Facts) {
    if let Some(key) = ServiceKey::firewall_mark(way.family, mark) {
        state.ipvs.services.insert(key, way.service());
    }
    if let (Family::Ipv4, Some(interface)) = (way.family, facts.interface_to(way.server)) {
        let lets_in = Sysctl::on(interface, Knob::AcceptLocal);
        state.sysctls.insert(lets_in, Requirement::AtLeast(1));
        let is_elsewhere = |key: &AddressKey| !key.is_of_host() && key.interface != interface;
        let mut keys = vips.iter().flat_map(|vip| AddressKey::all_of(&state.addresses, *vip));
        if keys.any(is_elsewhere) {
            state.sysctls.insert(Sysctl::on(interface, Knob::RpFilter), NOT_STRICT);
        }
    }
    state.ruleset.probe_sources.insert(source);
    state.ruleset.probed.extend(vips);
}

/// A mark for each way: by its hash, and where two would meet the next one that is free. So an agent that restarts finds its
/// own, and a new real server gives nobody else another one, but where it is the first of two that meet.
fn marks<'a>(ways: impl Iterator<Item = &'a Way>, range: &RangeInclusive<u32>) -> BTreeMap<Way, u32> {
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    let mut marks = BTreeMap::new();
    let size = range.end() - range.start() + 1;
    for way in ways {
        // Three of four marks are kube-proxy's: those who met them would all end up at the next free one.
        let start = (digest(way) % size) & !OF_KUBE_PROXY;
        let mut around = (start..size).chain(0..start).map(|place| range.start() + place);
        let free = around.find(|mark| mark & OF_KUBE_PROXY == 0 && !taken.contains(mark));
        if let Some(mark) = free {
            taken.insert(mark);
            marks.insert(*way, mark);
        }
    }
    marks
}

/// FNV-1a, folded: its upper bits are the better ones, and the range takes the lower.
fn digest(way: &Way) -> u32 {
    let Way {
        family,
        server,
        method,
        tunnel,
    } = way;
    let family: u8 = match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 6,
    };
    let address = match server {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bytes = [family].into_iter().chain(address);
    let bytes = bytes.chain(method.number().to_be_bytes());
    let bytes = bytes.chain([tunnel.kind.number()]);
    let bytes = bytes
        .chain(tunnel.port.to_be_bytes())
        .chain(tunnel.flags.0.to_be_bytes());
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    let [upper, lower] = [hash >> 32, hash & u64::from(u32::MAX)];
    u32::try_from(upper ^ lower).unwrap_or_default()
}

/// The knobs that let in what real servers answer to the VIP, and what is asked of each.
pub fn let_in(desired: &KernelState) -> impl Iterator<Item = (&Sysctl, Requirement)> {
    let all = desired
        .sysctls
        .iter()
        .map(|(sysctl, requirement)| (sysctl, *requirement));
    all.filter(|(sysctl, requirement)| sysctl.knob == Knob::AcceptLocal || *requirement == NOT_STRICT)
}

/// The ways as the kernel was read to have them after a pass. What one needs and the kernel refused leaves it unsteered: a
/// real server is then probed by its own address, and the Placement says what was refused.
pub fn open(ways: &Ways, desired: &KernelState, observed: &Observed, residue: &Plan) -> Ways {
    let is_unguarded = |(_, change): &(_, Change)| matches!(change, Change::GrowRuleset(_));
    let is_guarded = observed.nftables.table().is_some() && !residue.steps.iter().any(is_unguarded);
    let lets_in = let_in(desired).all(|(sysctl, requirement)| observed.fulfils(sysctl, requirement));
    let is_there = |way: &Way, mark: u32| {
        let key = ServiceKey::firewall_mark(way.family, mark);
        let read = observed.ipvs.table().zip(key);
        let read = read.and_then(|(table, key)| table.services.get(&key));
        read == Some(&way.service())
    };
    let open = ways.open.iter().map(|(way, steering)| {
        let is_ready = |mark| is_guarded && (lets_in || way.family == Family::Ipv6) && is_there(way, mark);
        let steering = match steering {
            Steering::Marked { mark, source: _ } if is_ready(*mark) => *steering,
            Steering::Marked { mark: _, source: _ } | Steering::Unsteered => Steering::Unsteered,
        };
        (*way, steering)
    });
    Ways {
        open: open.collect(),
        elsewhere: ways.elsewhere.clone(),
    }
}

#[cfg(test)]
mod tests;
