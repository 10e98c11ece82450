//! What users do: write and delete VirtualServices and RealServers.

use crate::administrators::{self, GROUPS};
use crate::random::Random;
use crate::world::{VIPS, World, link};
use crds::{
    ForwardingMethod, Port, Protocol, RealServer, RealServerSpec, Scheduler, Selector, VirtualAddress, VirtualService,
    VirtualServiceSpec,
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
const SCHEDULERS: [Scheduler; 3] = [Scheduler::Rr, Scheduler::Wlc, Scheduler::Sed];

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
    let part = random.below(4);
    let edit = |spec: &mut VirtualServiceSpec| match part {
        0 => spec.addresses.clone_from(&fresh.addresses),
        1 => spec.ports.clone_from(&fresh.ports),
        2 => spec.scheduler = fresh.scheduler,
        _ => *spec = fresh.clone(),
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
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let group = if random.chance(75) { 0 } else { 1 };
    VirtualServiceSpec {
        director_group_name: GROUPS.get(group).map_or(String::new(), |name| (*name).to_owned()),
        addresses,
        ports,
        scheduler: random.pick(&SCHEDULERS).unwrap_or_default(),
        forwarding_method: ForwardingMethod::DR,
        real_server_selector: selector("app", random.pick(&APPS).unwrap_or_default()),
        health_checks: None,
    }
}

fn service_words(spec: Option<&VirtualServiceSpec>) -> String {
    let Some(spec) = spec else { return "gone".to_owned() };
    let addresses: Vec<&str> = spec.addresses.iter().map(|entry| entry.address.as_str()).collect();
    let ports: Vec<String> = spec
        .ports
        .iter()
        .map(|port| format!("{:?}/{}", port.protocol, port.port))
        .collect();
    format!(
        "{} {} {} {:?}",
        spec.director_group_name,
        addresses.join(","),
        ports.join(","),
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
        0 => world
            .api
            .real_servers
            .edit_spec(stamp, &key, |there| there.spec.weight = fresh.weight),
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
    let address = link(u8::try_from(10 + 10 * node).unwrap_or(250)).to_string();
    let node_name = Some(format!("n{}", node + 1));
    match random.below(8) {
        0 => RealServerSpec {
            addresses: Some(vec![
                link(u8::try_from(200 + random.below(3)).unwrap_or(200)).to_string(),
            ]),
            node_name: None,
            weight,
        },
        1..4 => RealServerSpec {
            addresses: None,
            node_name,
            weight,
        },
        _ => RealServerSpec {
            addresses: Some(vec![address]),
            node_name,
            weight,
        },
    }
}

fn delete_server(world: &mut World) {
    let keys: Vec<Key> = world.api.real_servers.objects.keys().cloned().collect();
    let which = world.random.below(keys.len());
    if let Some(key) = keys.get(which) {
        world.note(|| format!("somebody deletes RealServer {key}"));
        let stamp = world.api.stamp(world.now);
        let _: Result<(), _> = world.api.real_servers.delete(stamp, key);
    }
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
