//! What people do: found a cluster, write objects, move labels, and deal with machines that are off.

use crate::random::Random;
use crate::world::{VIPS, World, link};
use crds::{
    AllowedNamespaces, DirectorGroup, DirectorGroupSpec, ForwardingMethod, NamespacesFrom, Port, Protocol, RealServer,
    RealServerSpec, Scheduler, Selector, VirtualAddress, VirtualService, VirtualServiceSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Node, NodeAddress, Taint};
use operator::Key;
use std::collections::BTreeMap;

/// DirectorGroups; each selects by a label of its own.
pub(crate) const GROUPS: [&str; 2] = ["front", "side"];
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

/// Namespaces, Nodes, groups, and a few services and servers.
pub(crate) fn found(world: &mut World) {
    for name in ["shop", "blog"] {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let stamp = world.api.stamp(world.now);
        let _: Result<(), _> = world.api.namespaces.create(stamp, namespace);
    }
    for index in 0..world.machines.len() {
        create_node(world, index);
    }
    for (index, group) in GROUPS.into_iter().enumerate() {
        let spec = DirectorGroupSpec {
            node_selector: selector(group, "true"),
            interface: (index == 1).then(|| "eth0".to_owned()),
            allowed_namespaces: AllowedNamespaces {
                from: NamespacesFrom::All,
                namespace_selector: None,
            },
            allowed_cidrs: vec!["192.168.56.0/24".to_owned()],
            shared_addresses: false,
        };
        let stamp = world.api.stamp(world.now);
        let _: Result<(), _> = world.api.director_groups.create(stamp, DirectorGroup::new(group, spec));
        set_label(world, index, group, true);
    }
    for _ in 0..3 {
        write_service(world);
        write_server(world);
        write_server(world);
    }
}

fn selector(key: &str, value: &str) -> Selector {
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
        70..88 => move_label(world),
        88..94 => set_permission(world),
        94..97 => share(world),
        _ => delete_placement(world),
    }
}

fn write_service(world: &mut World) {
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

fn write_server(world: &mut World) {
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

/// From one node to another; seldom in one go.
fn move_label(world: &mut World) {
    let Some(group) = world.random.pick(&GROUPS) else {
        return;
    };
    let to = world.random.below(world.machines.len());
    if world.random.chance(80) {
        direct(world, group, to);
    } else {
        let value = world.random.chance(50);
        set_label(world, to, group, value);
    }
}

/// This node, and no other, is the director of the group.
pub(crate) fn direct(world: &mut World, group: &str, to: usize) {
    for index in 0..world.machines.len() {
        set_label(world, index, group, index == to);
    }
}

fn set_label(world: &mut World, index: usize, group: &str, value: bool) {
    let key = world.node_key(index);
    let stamp = world.api.stamp(world.now);
    let edited = world.api.nodes.edit(stamp, &key, |node| {
        let labels = node.metadata.labels.get_or_insert_default();
        if value {
            labels.insert(group.to_owned(), "true".to_owned());
        } else {
            labels.remove(group);
        }
    });
    if edited.is_ok() {
        world.note(|| format!("{key} is a director of {group}: {value}"));
    }
}

fn set_permission(world: &mut World) {
    let Some(group) = world.random.pick(&GROUPS) else {
        return;
    };
    let all = world.random.chance(50);
    let cidr = if all { "192.168.56.0/24" } else { "192.168.56.100/31" };
    edit_group(world, group, |spec| spec.allowed_cidrs = vec![cidr.to_owned()]);
    world.note(|| format!("{group} allows {cidr}"));
}

fn share(world: &mut World) {
    let Some(group) = world.random.pick(&GROUPS) else {
        return;
    };
    edit_group(world, group, |spec| spec.shared_addresses = !spec.shared_addresses);
    world.note(|| format!("{group} shares its addresses, or not any more"));
}

fn edit_group(world: &mut World, group: &str, edit: impl FnOnce(&mut DirectorGroupSpec)) {
    let stamp = world.api.stamp(world.now);
    let key = Key::new("", group);
    let _: Result<(), _> = world
        .api
        .director_groups
        .edit_spec(stamp, &key, |there| edit(&mut there.spec));
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

/// A machine goes off, and then a person says so: by the taint, or by deleting its Node.
pub(crate) fn declare_off(world: &mut World, index: usize) {
    if world.machines.get(index).is_none_or(|machine| machine.is_declared_off) {
        return;
    }
    world.power_off(index);
    let key = world.node_key(index);
    let stamp = world.api.stamp(world.now);
    if world.random.chance(50) {
        let _: Result<(), _> = world.api.nodes.delete(stamp, &key);
        world.note(|| format!("somebody deletes Node {key}"));
    } else {
        let taint = Taint {
            key: crds::names::OUT_OF_SERVICE_TAINT.to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        };
        let _: Result<(), _> = world.api.nodes.edit(stamp, &key, |node| {
            node.spec.get_or_insert_default().taints = Some(vec![taint]);
        });
        world.note(|| format!("somebody taints Node {key}"));
    }
    if let Some(machine) = world.machines.get_mut(index) {
        machine.is_declared_off = true;
        machine.excuses.given_up = true;
    }
}

/// The taint goes, or the Node is made anew.
pub(crate) fn readmit(world: &mut World, index: usize) {
    let key = world.node_key(index);
    let stamp = world.api.stamp(world.now);
    let edited = world.api.nodes.edit(stamp, &key, |node| {
        node.spec.get_or_insert_default().taints = None;
    });
    if edited.is_err() {
        create_node(world, index);
    }
    world.note(|| format!("Node {key} is there, without a taint"));
}

fn create_node(world: &mut World, index: usize) {
    let Some(machine) = world.machines.get(index) else {
        return;
    };
    let mut node = Node::default();
    node.metadata.name = Some(machine.name.clone());
    node.status.get_or_insert_default().addresses = Some(vec![NodeAddress {
        address: machine.address.to_string(),
        type_: "InternalIP".to_owned(),
    }]);
    let stamp = world.api.stamp(world.now);
    let _: Result<(), _> = world.api.nodes.create(stamp, node);
}
