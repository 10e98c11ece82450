//! From the ruleset to the one table that does all of it. A set is there only while it has elements, and a rule only with
//! its set: what is not asked for costs no packet anything, and connection tracking is on only where it is needed.
//!
//! IPVS sits at input 98 (replies) and 99 (requests), at output -99 and -98, at forward 99 and 100.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::words::{self, TWINS, Twin};
use super::{Atom, Base, Cut, Datum, Flow, InterfaceName, Kind, Local, Masquerade, Outer, Ruleset, Source, Table};

mod build;
mod probes;

use build::{at, number, of};

pub(super) const VIPS: &str = "vips";
pub(super) const LOCAL_PORTS: &str = "local_ports";
pub(super) const LOCAL_PROTOCOLS: &str = "local_protocols";
pub(super) const LOCAL_MARKS: &str = "local_marks";
pub(super) const REPLIES: &str = "replies";
pub(super) const MARKS: &str = "marks";
pub(super) const FLOW_PORTS: &str = "fullnat_ports";
pub(super) const FLOW_PROTOCOLS: &str = "fullnat_protocols";
pub(super) const FLOW_MARKS: &str = "fullnat_marks";
pub(super) const TUNNELS: &str = "tunnels";
pub(super) const TUNNEL_VIPS: &str = "tunnel_vips";
pub(super) const OUTER_PROTOCOLS: &str = "outer_protocols";
pub(super) const OUTER_PORTS: &str = "outer_ports";
pub(super) const DIRECTORS: &str = "directors";
pub(super) const SEGMENTS: &str = "segments_";
pub(super) const PROBE_SOURCES: &str = "probe_sources";
pub(super) const PROBED: &str = "probed";
pub(super) const PROBE_MARKS: &str = "probe_marks";
pub(super) const CUT: &str = "cut";

/// The chain that FullNAT without addresses of its own goes to.
pub(super) const INTERFACE_SOURCE: &str = "fullnat_interface";
/// Prefix of the chains that FullNAT with addresses goes to.
pub(super) const ADDRESS_SOURCE: &str = "fullnat_from_";
pub(super) const SOURCE_NAT: &str = "source_nat";

/// Before everything else of ours: a connection that is over is nobody's any more.
const INPUT_FIRST: Base = filter("input", 90);
const INPUT_BEFORE_IPVS: Base = filter("input", 97);
/// Behind the conntrack of the node's own packets (-200), before IPVS's.
const OUTPUT_BEFORE_IPVS: Base = filter("output", -100);
const INPUT_AFTER_IPVS: Base = filter("input", 110);
const FORWARD_AFTER_IPVS: Base = filter("forward", 110);
const PREROUTING_RAW: Base = filter("prerouting", -300);
const OUTPUT_MANGLE: Base = filter("output", -150);
const POSTROUTING: Base = filter("postrouting", 99);
/// One before `srcnat`, where everybody else's source NAT is: the first rule that matches decides for the connection.
const POSTROUTING_NAT: Base = Base {
    kind: "nat",
    hook: "postrouting",
    priority: 99,
};

const fn filter(hook: &'static str, priority: i32) -> Base {
    Base {
        kind: "filter",
        hook,
        priority,
    }
}

/// The name of a set, one for each family.
pub(super) fn name(of: &str, twin: Twin) -> String {
    format!("{of}{}", twin.digit())
}

/// The table of a ruleset.
pub(super) fn program(ruleset: &Ruleset) -> Table {
    let Ruleset {
        guarded,
        local,
        replies,
        full_nat,
        marks,
        masquerade,
        tunnels,
        outer,
        directors,
        segments,
        probe_sources,
        probed,
        probe_marks,
        cut,
    } = ruleset;
    let mut table = Table::default();
    for vip in guarded {
        table.insert(VIPS, Twin::of(*vip), vec![at(*vip)]);
    }
    for entry in local {
        insert_local(&mut table, entry);
    }
    for (server, protocol, port) in replies {
        table.insert(
            REPLIES,
            Twin::of(*server),
            vec![at(*server), of(*protocol), number(*port)],
        );
    }
    for ((vip, protocol, port), mark) in marks {
        let key = vec![at(*vip), of(*protocol), number(*port)];
        table.map(MARKS, Twin::of(*vip), key, Datum::Mark(*mark));
    }
    for (flow, source) in full_nat {
        insert_flow(&mut table, flow, source);
    }
    for (device, vips) in tunnels {
        insert_tunnel(&mut table, device, vips);
    }
    for entry in outer {
        insert_outer(&mut table, entry);
    }
    for director in directors {
        table.insert(DIRECTORS, Twin::of(*director), vec![at(*director)]);
    }
    for (vip, size) in segments {
        let set = format!("{SEGMENTS}{size}_");
        table.insert(&set, Twin::of(*vip), vec![at(*vip)]);
    }
    probes::insert(&mut table, probe_sources, probed, probe_marks);
    for Cut { client, vip } in cut {
        let key = [client, vip].map(|place| [at(place.ip()), number(place.port())]);
        table.insert(CUT, Twin::of(vip.ip()), key.concat());
    }
    chains(&mut table, masquerade, segments.values().copied().collect());
    table
}

fn insert_tunnel(table: &mut Table, device: &InterfaceName, vips: &BTreeSet<IpAddr>) {
    let device = Atom::Name(device.as_str().to_owned());
    table.element(TUNNELS, vec![Kind::Ifname], vec![device.clone()]);
    for vip in vips {
        table.insert(TUNNEL_VIPS, Twin::of(*vip), vec![device.clone(), at(*vip)]);
    }
}

fn insert_local(table: &mut Table, entry: &Local) {
    match entry {
        Local::Port { vip, protocol, port } => {
            table.insert(
                LOCAL_PORTS,
                Twin::of(*vip),
                vec![at(*vip), of(*protocol), number(*port)],
            );
        }
        Local::Protocol { vip, protocol } => {
            table.insert(LOCAL_PROTOCOLS, Twin::of(*vip), vec![at(*vip), of(*protocol)]);
        }
        Local::Mark { vip, mark } => table.insert(LOCAL_MARKS, Twin::of(*vip), vec![at(*vip), Atom::Number(*mark)]),
    }
}

fn insert_outer(table: &mut Table, entry: &Outer) {
    match entry {
        Outer::Protocol { local, protocol } => {
            let protocol = Atom::Number((*protocol).into());
            table.insert(OUTER_PROTOCOLS, Twin::of(*local), vec![at(*local), protocol]);
        }
        Outer::Port { local, port } => table.insert(OUTER_PORTS, Twin::of(*local), vec![at(*local), number(*port)]),
    }
}

fn insert_flow(table: &mut Table, flow: &Flow, source: &Source) {
    let twin = Twin::of(flow.server());
    let datum = source_chain(table, twin, source);
    match flow {
        Flow::Port {
            vip,
            protocol,
            server,
            port,
        } => {
            let key = vec![at(*vip), of(*protocol), at(*server), number(*port)];
            table.map(FLOW_PORTS, twin, key, datum);
        }
        Flow::Protocol { vip, protocol, server } => {
            table.map(FLOW_PROTOCOLS, twin, vec![at(*vip), of(*protocol), at(*server)], datum);
        }
        Flow::Mark { mark, server } => table.map(FLOW_MARKS, twin, vec![Atom::Number(*mark), at(*server)], datum),
    }
}

/// The chain that gives a source, and where its flows go. Its name follows from the addresses, so that it is never edited.
fn source_chain(table: &mut Table, twin: Twin, source: &Source) -> Datum {
    let (name, rule) = match source {
        Source::Retired => return Datum::Continue,
        Source::Interface => (INTERFACE_SOURCE.to_owned(), words::masquerade()),
        Source::Addresses(addresses) => {
            let text: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let name = format!("{ADDRESS_SOURCE}{:08x}", digest(&text.join(" ")));
            (name, words::snat_in_turn(twin, addresses))
        }
    };
    let chain = table.chains.entry(name.clone()).or_default();
    chain.rules = vec![Value::Array(vec![rule])];
    Datum::Goto(name)
}

/// FNV-1a. Two groups of one node whose addresses met in it would use each other's.
fn digest(text: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

/// By the words of TCP, and not by those of any transport protocol: nft would list them so.
fn cutting(table: &Table) -> Vec<Value> {
    table.rules_with(CUT, |twin| {
        let from = [ip(twin, "saddr"), words::payload("tcp", "sport")];
        let to = [ip(twin, "daddr"), words::payload("tcp", "dport")];
        let key = words::concat(from.into_iter().chain(to));
        vec![words::equal(key, words::set(&name(CUT, twin))), words::reset()]
    })
}

fn chains(table: &mut Table, masquerade: &BTreeSet<Masquerade>, sizes: BTreeSet<u16>) {
    let cutting = cutting(table);
    table.hook("cutting", INPUT_FIRST, cutting);
    let mark = |twin: Twin| vec![words::set_mark(service(twin), &name(MARKS, twin))];
    let marking = table.rules_with(MARKS, mark);
    table.hook("marking", INPUT_BEFORE_IPVS, marking.clone());
    table.hook("marking_own", OUTPUT_BEFORE_IPVS, probes::marking_own(table, marking));
    let returned = probes::returned(table);
    table.hook("returned", INPUT_BEFORE_IPVS, returned);
    let missed = table.rules_with(REPLIES, |twin| {
        let reply = [ip(twin, "saddr"), words::meta("l4proto"), words::payload("th", "sport")];
        dropping(vec![words::equal(
            words::concat(reply),
            words::set(&name(REPLIES, twin)),
        )])
    });
    table.hook("missed_replies", FORWARD_AFTER_IPVS, missed);
    let source_nat = source_nat(table, masquerade);
    let tracks = !source_nat.is_empty();
    let guard = guard(table, tracks);
    table.hook("guard", INPUT_AFTER_IPVS, guard);
    table.hook(SOURCE_NAT, POSTROUTING_NAT, source_nat);
    // Nobody needs to know; but the last rule that looks at connections takes the tracking away from all of them.
    let inert = tracks.then(|| Value::Array(vec![words::is_invalid(), words::counter()]));
    table.hook("connections", POSTROUTING, inert.into_iter().collect());
    let unwrapping = unwrapping(table);
    table.hook("unwrapped", PREROUTING_RAW, unwrapping);
    let mut clamping = Vec::new();
    for size in sizes {
        let set = format!("{SEGMENTS}{size}_");
        clamping.extend(table.rules_with(&set, |twin| {
            let from = words::equal(ip(twin, "saddr"), words::set(&name(&set, twin)));
            // Only packets with the option have it changed, and never to a greater size: they need not be told apart.
            vec![from, words::set_segment_size(size)]
        }));
    }
    table.hook("segments", OUTPUT_MANGLE, clamping);
}

fn guard(table: &Table, tracks: bool) -> Vec<Value> {
    let passes = |set: &'static str, key: fn(Twin) -> Value| {
        table.rules_with(set, |twin| {
            vec![words::equal(key(twin), words::set(&name(set, twin))), words::accept()]
        })
    };
    let drops = table.rules_with(VIPS, |twin| {
        dropping(vec![words::equal(ip(twin, "daddr"), words::set(&name(VIPS, twin)))])
    });
    if drops.is_empty() {
        return drops;
    }
    let mut rules = vec![Value::Array(vec![words::is_icmp(), words::accept()])];
    // A client on the director itself speaks to a VIP from that VIP, and the answers of NAT and FullNAT come in by here
    // (measured). From outside, IPv4 takes no packet that says it is from here; IPv6 does, and then nothing but TCP, whose
    // answers would go to ourselves, may pass unasked.
    rules.extend(table.rules_with(VIPS, |twin| {
        let from_vip = words::equal(ip(twin, "saddr"), words::set(&name(VIPS, twin)));
        match twin {
            Twin::Four => vec![from_vip, words::accept()],
            Twin::Six => vec![words::is_tcp(), from_vip, words::accept()],
        }
    }));
    if tracks {
        rules.push(Value::Array(vec![words::is_reply(), words::accept()]));
    }
    rules.extend(passes(LOCAL_PORTS, service));
    rules.extend(passes(LOCAL_PROTOCOLS, |twin| {
        words::concat([ip(twin, "daddr"), words::meta("l4proto")])
    }));
    rules.extend(passes(LOCAL_MARKS, |twin| {
        words::concat([ip(twin, "daddr"), words::meta("mark")])
    }));
    rules.extend(drops);
    rules
}

fn source_nat(table: &Table, masquerade: &BTreeSet<Masquerade>) -> Vec<Value> {
    let goes = |set: &'static str, key: fn(Twin) -> Value| {
        table.rules_with(set, |twin| vec![words::vmap(key(twin), &name(set, twin))])
    };
    let mut rules = goes(FLOW_PORTS, |twin| {
        let [vip, protocol, server] = [
            words::original_destination(twin),
            words::meta("l4proto"),
            ip(twin, "daddr"),
        ];
        words::concat([vip, protocol, server, words::payload("th", "dport")])
    });
    rules.extend(goes(FLOW_PROTOCOLS, |twin| {
        words::concat([
            words::original_destination(twin),
            words::meta("l4proto"),
            ip(twin, "daddr"),
        ])
    }));
    rules.extend(goes(FLOW_MARKS, |twin| {
        words::concat([words::meta("mark"), ip(twin, "daddr")])
    }));
    rules.extend(masquerade.iter().map(masquerading));
    rules
}

pub(super) fn masquerading(rule: &Masquerade) -> Value {
    let Masquerade {
        network,
        out_interface,
        addresses,
    } = rule;
    let twin = Twin::of(network.addr());
    let mut statements = Vec::new();
    if let Some(interface) = out_interface {
        let name = Value::String(interface.as_str().to_owned());
        statements.push(words::equal(words::meta("oifname"), name));
    }
    statements.push(words::equal(ip(twin, "saddr"), words::network(*network)));
    if out_interface.is_none() {
        statements.push(words::differ(ip(twin, "daddr"), words::network(*network)));
    }
    statements.push(if addresses.is_empty() {
        words::masquerade()
    } else {
        words::snat_by_client(twin, addresses)
    });
    Value::Array(statements)
}

/// Whoever may send to a tunnel could send anything to any address of this host: only VIPs come out, only from directors.
fn unwrapping(table: &mut Table) -> Vec<Value> {
    let mut rules = Vec::new();
    let from_stranger = |twin| words::differ(ip(twin, "saddr"), words::set(&name(DIRECTORS, twin)));
    for twin in TWINS {
        let by_protocol = (OUTER_PROTOCOLS, words::meta("l4proto"));
        let by_port = (OUTER_PORTS, words::payload("udp", "dport"));
        for (set, arrival) in [by_protocol, by_port] {
            if table.sets.contains_key(&name(set, twin)) {
                // Without any director, nobody may.
                table.set_of(DIRECTORS, twin, None);
                let here = words::concat([ip(twin, "daddr"), arrival]);
                let here = words::equal(here, words::set(&name(set, twin)));
                rules.push(Value::Array(dropping(vec![here, from_stranger(twin)])));
            }
        }
    }
    if table.sets.contains_key(TUNNELS) {
        for twin in TWINS {
            table.set_of(TUNNEL_VIPS, twin, None);
            let device = words::equal(words::meta("iifname"), words::set(TUNNELS));
            let inner = words::concat([words::meta("iifname"), ip(twin, "daddr")]);
            let elsewhere = words::differ(inner, words::set(&name(TUNNEL_VIPS, twin)));
            rules.push(Value::Array(dropping(vec![device, elsewhere])));
        }
    }
    rules
}

fn dropping(mut matches: Vec<Value>) -> Vec<Value> {
    matches.extend(words::drop());
    matches
}

fn ip(twin: Twin, field: &str) -> Value {
    words::payload(twin.protocol(), field)
}

/// Destination, protocol and port.
fn service(twin: Twin) -> Value {
    words::concat([ip(twin, "daddr"), words::meta("l4proto"), words::payload("th", "dport")])
}
