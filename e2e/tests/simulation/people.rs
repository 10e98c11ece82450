//! What users do: write and delete VirtualServices and RealServers.

use crate::administrators::{self, GROUPS};
use crate::random::Random;
use crate::world::{VIPS, World, link, six};
use crds::{
    Drain, ForwardingMethod, Persistence, Port, Protocol, RealServer, RealServerSpec, Scheduler, Selector, SlowStart,
    VirtualAddress, VirtualService, VirtualServiceSpec,
};
use operator::Key;
use std::collections::BTreeMap;

const SERVICES: [(&str, &str); 4] = [("shop", "cart"), ("shop", "mail"), ("shop", "web"), ("blog", "news")];
const SERVERS: [(&str, &str); 7] = [
    ("shop", "r1"),
    ("shop", "r2"),
    ("shop", "r3"),
    ("shop", "r4"),
    ("shop", "r5"),
    ("blog", "b1"),
    ("blog", "b2"),
];
const APPS: [&str; 2] = ["x", "y"];
const PORTS: [(Protocol, i32); 3] = [(Protocol::Tcp, 80), (Protocol::Tcp, 443), (Protocol::Udp, 80)];
const SCHEDULERS: [Scheduler; 4] = [Scheduler::Rr, Scheduler::Wlc, Scheduler::Sed, Scheduler::Sh];
const METHODS: [ForwardingMethod; 5] = [
    ForwardingMethod::DR,
    ForwardingMethod::DR,
    ForwardingMethod::NAT,
    ForwardingMethod::TUN,
    ForwardingMethod::FullNAT,
];
/// Few, so that they are wanted twice.
const MARKS: [i64; 2] = [7, 8];
/// Percent of services by mark.
const MARKED: usize = 15;

pub(crate) fn selector(key: &str, value: &str) -> Selector {
    Selector {
        match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        match_expressions: Vec::new(),
    }
}

/// One thing that a person does to objects.
pub(crate) fn act(world: &mut World) {
    match world.random.below(100) {
        0..26 => write_service(world),
        26..34 => delete_service(world),
        34..60 => write_server(world),
        60..70 => delete_server(world),
        70..97 => administrators::act(world),
        _ => delete_placement(world),
    }
}

pub(crate) fn write_service(world: &mut World) {
    let random = &mut world.random;
    let Some((namespace, name)) = random.pick(&SERVICES) else {
        return;
    };
    let key = Key::new(namespace, name);
    let fresh = service_spec(random);
    let part = random.below(6);
    let edit = |spec: &mut VirtualServiceSpec| {
        match part {
            0 => spec.addresses.clone_from(&fresh.addresses),
            1 => {
                spec.ports.clone_from(&fresh.ports);
                spec.firewall_mark = fresh.firewall_mark;
            }
            2 => spec.scheduler = fresh.scheduler,
            3 => spec.forwarding_method = fresh.forwarding_method,
            4 => spec.persistence.clone_from(&fresh.persistence),
            _ => *spec = fresh.clone(),
        }
        keep_ports(spec);
    };
    let stamp = world.api.stamp(world.now);
    if world
        .api
        .virtual_services
        .edit_spec(stamp, &key, |there| edit(&mut there.spec))
        .is_err()
    {
        let mut service = VirtualService::new(name, fresh.clone());
        service.metadata.namespace = Some(namespace.to_owned());
        let _: Result<(), _> = world.api.virtual_services.create(stamp, service);
    }
    let now = world
        .api
        .virtual_services
        .objects
        .get(&key)
        .map(|there| there.spec.clone());
    world.note(|| format!("somebody writes VirtualService {key}: {}", service_words(now.as_ref())));
}

fn service_spec(random: &mut Random) -> VirtualServiceSpec {
    let mut addresses: Vec<VirtualAddress> = Vec::new();
    let mut ports: Vec<Port> = Vec::new();
    for _ in 0..=random.below(2) {
        let address = random.pick(&VIPS).map_or(String::new(), |vip| vip.to_string());
        if addresses.iter().all(|there| there.address != address) {
            addresses.push(VirtualAddress { address });
        }
        let (protocol, port) = random.pick(&PORTS).unwrap_or((Protocol::Tcp, 80));
        let port = Port {
            name: None,
            protocol: Some(protocol),
            port,
            target_port: random.chance(20).then_some(8080),
        };
        if ports
            .iter()
            .all(|there| (there.protocol, there.port) != (port.protocol, port.port))
        {
            ports.push(port);
        }
    }
    let group = if random.chance(75) { 0 } else { 1 };
    let firewall_mark = random.pick(&MARKS).filter(|_| random.chance(MARKED));
    let mut spec = VirtualServiceSpec {
        director_group_name: GROUPS.get(group).map_or(String::new(), |name| (*name).to_owned()),
        addresses,
        ports: firewall_mark.is_none().then_some(ports),
        firewall_mark,
        scheduler: random.pick(&SCHEDULERS).unwrap_or_default(),
        scheduler_flags: None,
        forwarding_method: random.pick(&METHODS).unwrap_or_default(),
        tunnel: None,
        persistence: random.chance(25).then(|| persistence(random.chance(MARKED))),
        one_packet: false,
        real_server_selector: selector("app", random.pick(&APPS).unwrap_or_default()),
        health_checks: None,
        quorum: None,
        sorry_server: None,
        drain: random.pick(&DRAINS).flatten(),
        slow_start: random.chance(20).then_some(SlowStart { duration_seconds: 3 }),
    };
    keep_ports(&mut spec);
    keep_clients(&mut spec);
    spec
}

fn persistence(across_ports: bool) -> Persistence {
    Persistence {
        timeout_seconds: 120,
        ipv4_prefix_length: 24,
        ipv6_prefix_length: 128,
        engine: None,
        across_ports,
    }
}

/// What the API server refuses by rules of its own is not written: only NAT and FullNAT translate, and no mark does.
fn keep_ports(spec: &mut VirtualServiceSpec) {
    if let Some(persistence) = &mut spec.persistence {
        persistence.across_ports &= spec.ports.is_some();
    }
    let is_across = spec
        .persistence
        .as_ref()
        .is_some_and(|persistence| persistence.across_ports);
    if is_across || !spec.forwarding_method.translates_ports() {
        spec.ports.iter_mut().flatten().for_each(|port| port.target_port = None);
    }
}

/// A hash that has no fallback refuses whom it cannot send on, and none of them grows by steps.
fn keep_clients(spec: &mut VirtualServiceSpec) {
    if spec.scheduler == Scheduler::Dh {
        spec.drain = None;
    }
    if [Scheduler::Dh, Scheduler::Sh, Scheduler::Mh].contains(&spec.scheduler) {
        spec.slow_start = None;
    }
}

const DRAINS: [Option<Drain>; 3] = [
    None,
    Some(Drain { timeout_seconds: 0 }),
    Some(Drain { timeout_seconds: 7 }),
];

fn service_words(spec: Option<&VirtualServiceSpec>) -> String {
    let Some(spec) = spec else { return "gone".to_owned() };
    let addresses: Vec<&str> = spec.addresses.iter().map(|entry| entry.address.as_str()).collect();
    let ports: Vec<String> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| format!("{:?}/{}->{:?}", port.protocol, port.port, port.target_port))
        .collect();
    format!(
        "{} {} {} mark {:?} by {:?} persistence {:?} {:?}",
        spec.director_group_name,
        addresses.join(","),
        ports.join(","),
        spec.firewall_mark,
        spec.forwarding_method,
        spec.persistence.as_ref().map(|persistence| persistence.across_ports),
        spec.real_server_selector.match_labels
    )
}

fn delete_service(world: &mut World) {
    let keys: Vec<Key> = world.api.virtual_services.objects.keys().cloned().collect();
    let which = world.random.below(keys.len());
    if let Some(key) = keys.get(which) {
        remove_service(world, key);
    }
}

pub(crate) fn remove_service(world: &mut World, key: &Key) {
    world.note(|| format!("somebody deletes VirtualService {key}"));
    let stamp = world.api.stamp(world.now);
    let _: Result<(), _> = world.api.virtual_services.delete(stamp, key);
}

pub(crate) fn write_server(world: &mut World) {
    let nodes = world.machines.len();
    let random = &mut world.random;
    let Some((namespace, name)) = random.pick(&SERVERS) else {
        return;
    };
    let key = Key::new(namespace, name);
    let fresh = server_spec(random, nodes);
    let app = random.pick(&APPS).unwrap_or_default().to_owned();
    let part = random.below(3);
    let stamp = world.api.stamp(world.now);
    let edited = match part {
        0 => world.api.real_servers.edit_spec(stamp, &key, |there| {
            there.spec.weight = fresh.weight;
            there.spec.upper_threshold = fresh.upper_threshold;
        }),
        1 => world.api.real_servers.edit(stamp, &key, |there| {
            there.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app.clone())]));
        }),
        _ => world
            .api
            .real_servers
            .edit_spec(stamp, &key, |there| there.spec = fresh.clone()),
    };
    if edited.is_err() {
        let mut server = RealServer::new(name, fresh);
        server.metadata.namespace = Some(namespace.to_owned());
        server.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app)]));
        let _: Result<(), _> = world.api.real_servers.create(stamp, server);
    }
    let now = world
        .api
        .real_servers
        .objects
        .get(&key)
        .map(|there| (there.spec.clone(), there.metadata.labels.clone()));
    world.note(|| format!("somebody writes RealServer {key}: {now:?}"));
}

/// On a node, by its own address or by that of the Node; or on a machine that nobody of us runs on.
fn server_spec(random: &mut Random, nodes: usize) -> RealServerSpec {
    let weight = i32::try_from(random.below(4)).unwrap_or(1);
    let node = random.below(nodes);
    let host = u8::try_from(10 + 10 * node).unwrap_or(250);
    let addresses = vec![link(host).to_string(), six(host).to_string()];
    let node_name = Some(format!("n{}", node + 1));
    let upper_threshold = i32::try_from(random.below(3)).unwrap_or(0) * 10;
    let cordoned = random.chance(15);
    let spec = |addresses: Option<Vec<String>>, node_name: Option<String>| RealServerSpec {
        addresses,
        node_name,
        weight,
        port: None,
        // By the node, so that two on one address do not differ.
        forwarding_method: match node {
            2 => Some(ForwardingMethod::NAT),
            4 => Some(ForwardingMethod::TUN),
            _ => None,
        },
        tunnel: None,
        upper_threshold,
        lower_threshold: 0,
        health_checks: None,
        cordoned,
    };
    match random.below(8) {
        0 => {
            let elsewhere = link(u8::try_from(200 + random.below(3)).unwrap_or(200));
            RealServerSpec {
                forwarding_method: None,
                ..spec(Some(vec![elsewhere.to_string()]), None)
            }
        }
        1..4 => spec(None, node_name),
        _ => spec(Some(addresses), node_name),
    }
}

fn delete_server(world: &mut World) {
    let keys: Vec<Key> = world.api.real_servers.objects.keys().cloned().collect();
    let which = world.random.below(keys.len());
    if let Some(key) = keys.get(which) {
        remove_server(world, key);
    }
}

pub(crate) fn remove_server(world: &mut World, key: &Key) {
    world.note(|| format!("somebody deletes RealServer {key}"));
    let stamp = world.api.stamp(world.now);
    let _: Result<(), _> = world.api.real_servers.delete(stamp, key);
}

fn delete_placement(world: &mut World) {
    let keys: Vec<Key> = world.api.placements.objects.keys().cloned().collect();
    let which = world.random.below(keys.len());
    if let Some(key) = keys.get(which) {
        world.note(|| format!("somebody deletes Placement {key}"));
        let stamp = world.api.stamp(world.now);
        let _: Result<(), _> = world.api.placements.delete(stamp, key);
    }
}
