//! What keeps the probes that go by the way of clients' packets apart from these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::super::words::{self, TWINS, Twin};
use super::super::{Atom, Kind, Table};
use super::build::at;
use super::{PROBE_MARKS, PROBE_SOURCES, PROBED, VIPS, dropping, ip, name};
use crate::state::LOOPBACK;

pub(super) fn insert(table: &mut Table, sources: &BTreeSet<IpAddr>, vips: &BTreeSet<IpAddr>, marks: &BTreeSet<u32>) {
    for (set, addresses) in [(PROBE_SOURCES, sources), (PROBED, vips)] {
        for address in addresses {
            table.insert(set, Twin::of(*address), vec![at(*address)]);
        }
    }
    for mark in marks {
        table.element(PROBE_MARKS, vec![Kind::Mark], vec![Atom::Number(*mark)]);
    }
}

/// What the node sends itself gets the same marks, but what has one of a probe keeps it.
pub(super) fn marking_own(table: &Table, marking: Vec<Value>) -> Vec<Value> {
    let mut rules = Vec::new();
    if table.sets.contains_key(PROBE_MARKS) && !marking.is_empty() {
        let is_probe = words::equal(words::meta("mark"), words::set(PROBE_MARKS));
        rules.push(Value::Array(vec![is_probe, words::accept()]));
    }
    rules.extend(marking);
    rules
}

/// A probe that comes back would be balanced to another real server, or back to the same one until its TTL ends. And where
/// the answers of probes may come in, IPv4 takes packets that say they are from here: those from a VIP to a VIP the guard
/// would let pass.
pub(super) fn returned(table: &Table) -> Vec<Value> {
    let from_outside = |twin, from: &str, to: &str| {
        dropping(vec![
            words::differ(words::meta("iifname"), Value::String(LOOPBACK.to_owned())),
            words::equal(ip(twin, "saddr"), words::set(&name(from, twin))),
            words::equal(ip(twin, "daddr"), words::set(&name(to, twin))),
        ])
    };
    let mut rules = Vec::new();
    for twin in TWINS {
        let has = |set| table.sets.contains_key(&name(set, twin));
        if has(PROBE_SOURCES) && has(PROBED) {
            rules.push(Value::Array(from_outside(twin, PROBE_SOURCES, PROBED)));
            if twin == Twin::Four && has(VIPS) {
                rules.push(Value::Array(from_outside(twin, VIPS, VIPS)));
            }
        }
    }
    rules
}
