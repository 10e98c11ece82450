//! Random sets of manifests that are valid by the API's rules, and use all of it.

#[path = "group.rs"]
mod group;
#[path = "real_server.rs"]
mod real_server;

pub(crate) use group::group;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::random::Random;

/// As many sets can stand beside each other: each has VIPs and real servers of its own.
pub(crate) const PLACES: usize = 40;

const METHODS: [&str; 4] = ["DR", "NAT", "TUN", "FullNAT"];
const SCHEDULERS: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];
const SERVICES: [&str; 4] = ["web", "dns", "sip", "bulk"];
const REAL_SERVERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const PORTS: [u16; 7] = [1, 53, 80, 443, 5060, 8080, 65535];

/// Where a set stands, and what it must agree about with its neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Its number among those that stand beside each other.
    pub(crate) number: usize,
    /// The DirectorGroup of all its services.
    pub(crate) group: &'a str,
    /// The nodes that may host real servers.
    pub(crate) hosts: &'a [(&'a str, [String; 2])],
    /// GRE with or without checksum: a host unwraps it in one mode.
    pub(crate) gre: &'a str,
}

impl Place<'_> {
    /// The namespace of the set.
    pub(crate) fn namespace(&self) -> String {
        namespace(self.number)
    }

    fn vips(&self) -> Vec<String> {
        let four = (0..3).map(|n| format!("192.168.56.{}", 101 + 3 * self.number + n));
        let six = (0..2).map(|n| format!("fd56::{}", 1000 + 2 * self.number + n));
        four.chain(six).collect()
    }

    /// Small ones, and ones that the kernel's tools print with a sign; none of those that the operator gives.
    fn marks(&self) -> [usize; 2] {
        [1 + self.number, 4_294_967_295 - self.number]
    }
}

/// The namespace of the set with this number.
pub(crate) fn namespace(number: usize) -> String {
    format!("set-{number}")
}

/// A service as far as its real servers must know it.
struct Draft {
    name: &'static str,
    method: &'static str,
    /// A port differs from its targetPort: only NAT and FullNAT will do.
    translates: bool,
    one_packet: bool,
    /// It has one port, and keeps it apart: a real server may have another.
    single: bool,
    families: BTreeSet<bool>,
    selector: Selector,
    spec: Map<String, Value>,
}

/// How a service finds its real servers.
#[derive(Clone, Copy)]
enum Selector {
    Labels,
    In,
    Exists,
    NotIn,
    DoesNotExist,
}

/// What a set has claimed already.
#[derive(Default)]
struct Claims {
    ports: BTreeSet<(String, &'static str, u16)>,
    marks: BTreeSet<(usize, bool)>,
}

/// A set: at least one service, and real servers.
pub(crate) fn set(random: &mut Random, place: &Place<'_>) -> Vec<Value> {
    let mut claims = Claims::default();
    let mut drafts = Vec::new();
    for name in some(random, &SERVICES, &[45, 35, 12, 8]) {
        drafts.extend(draft(random, place, &mut claims, name));
    }
    let mut hosts: Vec<_> = place.hosts.iter().collect();
    let mut manifests: Vec<Value> = drafts.iter().map(|draft| service(place, draft)).collect();
    for name in some(random, &REAL_SERVERS, &[15, 25, 25, 20, 15]) {
        manifests.push(real_server::real_server(random, place, &drafts, &mut hosts, name));
    }
    manifests
}

/// So many of these: the first number is the percentage of one of them, the second of two, and so on.
fn some<T: Copy>(random: &mut Random, from: &[T], shares: &[usize]) -> Vec<T> {
    let mut dice = random.below(100);
    let mut count = 1;
    for share in shares {
        if dice < *share {
            break;
        }
        dice -= share;
        count += 1;
    }
    let mut left = from.to_vec();
    while left.len() > count.min(from.len()) {
        left.remove(random.below(left.len()));
    }
    left
}

fn one<T: Copy>(random: &mut Random, from: &[T]) -> T {
    random.pick(from).unwrap_or(from[0])
}

fn is_six(address: &str) -> bool {
    address.contains(':')
}

fn draft(random: &mut Random, place: &Place<'_>, claims: &mut Claims, name: &'static str) -> Option<Draft> {
    let vips = place.vips();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    let addresses = some(random, &vips, &[55, 30, 15]);
    let families: BTreeSet<bool> = addresses.iter().map(|address| is_six(address)).collect();
    let method = one(random, &METHODS);
    let mut draft = Draft {
        name,
        method,
        translates: false,
        one_packet: false,
        single: false,
        families,
        selector: one(
            random,
            &[
                Selector::Labels,
                Selector::In,
                Selector::Exists,
                Selector::NotIn,
                Selector::DoesNotExist,
            ],
        ),
        spec: Map::new(),
    };
    let named: Vec<Value> = addresses.iter().map(|address| json!({"address": address})).collect();
    draft.spec.insert("addresses".to_owned(), json!(named));
    if random.chance(12) {
        let mark = one(random, &place.marks());
        let free = |six: &bool| !claims.marks.contains(&(mark, *six));
        if !draft.families.iter().all(free) {
            return None;
        }
        claims.marks.extend(draft.families.iter().map(|six| (mark, *six)));
        draft.spec.insert("firewallMark".to_owned(), json!(mark));
        draft.spec.insert("healthChecks".to_owned(), json!([{"none": {}}]));
        persistence(random, &mut draft.spec, 40);
    } else {
        ports(random, claims, &addresses, &mut draft)?;
    }
    scheduler(random, &mut draft.spec);
    if method == "TUN" && random.chance(75) {
        draft.spec.insert("tunnel".to_owned(), tunnel(random, place));
    }
    Some(draft)
}

fn ports(random: &mut Random, claims: &mut Claims, addresses: &[&str], draft: &mut Draft) -> Option<()> {
    let every = random.chance(10);
    let across = !every && random.chance(18);
    let udp = random.chance(30);
    let may_translate = matches!(draft.method, "NAT" | "FullNAT") && !across && !every;
    let mut listed = Vec::new();
    let wanted = if every {
        vec![0]
    } else {
        some(random, &PORTS, &[45, 30, 15, 10])
    };
    for port in wanted {
        let protocol = if udp { "UDP" } else { one(random, &PROTOCOLS) };
        let claim = |address: &&str| ((*address).to_owned(), protocol, port);
        if addresses.iter().map(claim).any(|claim| claims.ports.contains(&claim)) {
            continue;
        }
        claims.ports.extend(addresses.iter().map(claim));
        let mut entry = json!({"port": port});
        // TCP is what an absent protocol means.
        if protocol != "TCP" || random.chance(50) {
            entry["protocol"] = json!(protocol);
        }
        if random.chance(30) {
            entry["name"] = json!(format!("{}-{port}", protocol.to_lowercase()));
        }
        if may_translate && random.chance(50) {
            let target = one(random, &[8080, 1, 65535, 8443]);
            entry["targetPort"] = json!(target);
            draft.translates |= target != port;
        } else if !every && random.chance(10) {
            entry["targetPort"] = json!(port);
        }
        listed.push((protocol, entry));
    }
    let (first, _) = listed.first()?;
    // Nobody is behind these addresses.
    draft.spec.insert("healthChecks".to_owned(), json!([{"none": {}}]));
    let is_udp = *first == "UDP" && listed.iter().all(|(protocol, _)| *protocol == "UDP");
    draft.single = listed.len() == 1 && !across && !every;
    draft.one_packet = is_udp && matches!(draft.method, "DR" | "TUN") && random.chance(40);
    if draft.one_packet || random.chance(5) {
        draft.spec.insert("onePacket".to_owned(), json!(draft.one_packet));
    }
    let entries: Vec<Value> = listed.into_iter().map(|(_, entry)| entry).collect();
    draft.spec.insert("ports".to_owned(), json!(entries));
    persistence(random, &mut draft.spec, if every || across { 100 } else { 35 });
    if let Some(persistence) = draft.spec.get_mut("persistence") {
        if across || random.chance(10) {
            persistence["acrossPorts"] = json!(across);
        }
        if is_udp && random.chance(50) {
            persistence["engine"] = json!("sip");
        }
    }
    Some(())
}

/// Each field may be absent, and has its default then.
fn persistence(random: &mut Random, spec: &mut Map<String, Value>, percent: usize) {
    if !random.chance(percent) {
        return;
    }
    let mut persistence = json!({});
    let fields: [(&str, &[u32]); 3] = [
        ("timeoutSeconds", &[1, 60, 300, 2_678_400]),
        ("ipv4PrefixLength", &[1, 8, 24, 31, 32]),
        ("ipv6PrefixLength", &[1, 48, 64, 127, 128]),
    ];
    for (field, values) in fields {
        if random.chance(60) {
            persistence[field] = json!(one(random, values));
        }
    }
    spec.insert("persistence".to_owned(), persistence);
}

fn scheduler(random: &mut Random, spec: &mut Map<String, Value>) {
    if random.chance(7) {
        return;
    }
    let scheduler = one(random, &SCHEDULERS);
    spec.insert("scheduler".to_owned(), json!(scheduler));
    if matches!(scheduler, "sh" | "mh") && random.chance(75) {
        let flags: [&[&str]; 5] = [
            &[],
            &["fallback"],
            &["port"],
            &["fallback", "port"],
            &["port", "fallback"],
        ];
        let flags = one(random, &flags).iter().map(|flag| format!("{scheduler}-{flag}"));
        spec.insert("schedulerFlags".to_owned(), json!(flags.collect::<Vec<_>>()));
    }
}

fn tunnel(random: &mut Random, place: &Place<'_>) -> Value {
    let kind = one(random, &["IPIP", "GUE", "GRE"]);
    let mut tunnel = json!({"type": kind});
    let checksums: &[&str] = match kind {
        "GUE" => &["None", "Checksum", "RemoteChecksum"],
        "GRE" => &[place.gre],
        _ => &["None"],
    };
    let checksum = one(random, checksums);
    // None is what an absent checksum means.
    if checksum != "None" || random.chance(50) {
        tunnel["checksum"] = json!(checksum);
    }
    if kind == "GUE" {
        tunnel["port"] = json!(one(random, &[6080, 6081]));
    }
    tunnel
}

fn service(place: &Place<'_>, draft: &Draft) -> Value {
    let mut spec = draft.spec.clone();
    spec.insert("directorGroupName".to_owned(), json!(place.group));
    // DR is what an absent method means.
    if draft.method != "DR" {
        spec.insert("forwardingMethod".to_owned(), json!(draft.method));
    }
    let name = draft.name;
    let all = json!({"app": "random"});
    let expression = |operator: &str, values: &[&str]| match values {
        [] => json!([{"key": name, "operator": operator}]),
        _ => json!([{"key": name, "operator": operator, "values": values}]),
    };
    let selector = match draft.selector {
        Selector::Labels => json!({"matchLabels": {name: "yes"}}),
        Selector::In => json!({"matchExpressions": expression("In", &["yes", "perhaps"])}),
        Selector::Exists => json!({"matchExpressions": expression("Exists", &[])}),
        Selector::NotIn => json!({"matchLabels": all, "matchExpressions": expression("NotIn", &["no"])}),
        Selector::DoesNotExist => json!({"matchLabels": all, "matchExpressions": expression("DoesNotExist", &[])}),
    };
    spec.insert("realServerSelector".to_owned(), selector);
    manifest(
        "VirtualService",
        name,
        &place.namespace(),
        json!({}),
        Value::Object(spec),
    )
}

fn manifest(kind: &str, name: &str, namespace: &str, labels: Value, spec: Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    json!({"apiVersion": "lvs-operator.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}
