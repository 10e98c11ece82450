//! What administrators do: found a cluster, move labels, permit and forbid, and deal with machines that are off.

use crate::people::{selector, write_server, write_service};
use crate::world::World;
use crds::{
    AllowedNamespaces, DirectorGroup, DirectorGroupSpec, Masquerade, NamespacesFrom, Timeouts, UndeclaredPorts,
};
use k8s_openapi::api::core::v1::{Namespace, Node, NodeAddress, Taint};
use operator::Key;

/// DirectorGroups; each selects by a label of its own.
pub(crate) const GROUPS: [&str; 2] = ["front", "side"];

/// What a group permits at most; the least is two of the VIPs.
pub(crate) const EVERYTHING: [&str; 2] = ["192.168.56.0/24", "fd56::/64"];

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
            allowed_cidrs: EVERYTHING.map(str::to_owned).to_vec(),
            shared_addresses: false,
            masquerade: Vec::new(),
            timeouts: None,
            full_nat: None,
            undeclared_ports: UndeclaredPorts::default(),
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

/// One thing that an administrator does.
pub(crate) fn act(world: &mut World) {
    match world.random.below(30) {
        0..18 => move_label(world),
        18..24 => set_permission(world),
        24..27 => change_share(world),
        _ => share(world),
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
    let cidrs = if all { &EVERYTHING[..] } else { &["192.168.56.100/31"] };
    edit_group(world, group, |spec| {
        spec.allowed_cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
    });
    world.note(|| format!("{group} allows {cidrs:?}"));
}

fn share(world: &mut World) {
    let Some(group) = world.random.pick(&GROUPS) else {
        return;
    };
    edit_group(world, group, |spec| spec.shared_addresses = !spec.shared_addresses);
    world.note(|| format!("{group} shares its addresses, or not any more"));
}

/// What the services of a group share: the two groups may disagree, and then one of them is refused.
fn change_share(world: &mut World) {
    let Some(group) = world.random.pick(&GROUPS) else {
        return;
    };
    let timeouts = world.random.pick(&[None, Some(60), Some(61)]).flatten();
    let is_masquerading = world.random.chance(50);
    edit_group(world, group, |spec| {
        spec.timeouts = timeouts.map(|seconds| Timeouts {
            udp_seconds: Some(seconds),
            ..Timeouts::default()
        });
        let rule = Masquerade {
            source_cidr: "10.0.0.0/24".to_owned(),
            out_interface: None,
            source_addresses: Vec::new(),
        };
        spec.masquerade = is_masquerading.then_some(rule).into_iter().collect();
    });
    world.note(|| format!("{group} has timeouts {timeouts:?} and masquerades: {is_masquerading}"));
}

fn edit_group(world: &mut World, group: &str, edit: impl FnOnce(&mut DirectorGroupSpec)) {
    let stamp = world.api.stamp(world.now);
    let key = Key::new("", group);
    let _: Result<(), _> = world
        .api
        .director_groups
        .edit_spec(stamp, &key, |there| edit(&mut there.spec));
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

/// Whatever this node was the director of, another one is now.
pub(crate) fn replace_director(world: &mut World, index: usize) {
    for group in GROUPS {
        let node = world.api.nodes.objects.get(&world.node_key(index));
        let labels = node.and_then(|node| node.metadata.labels.as_ref());
        if labels.is_none_or(|labels| labels.contains_key(group)) {
            let step = 1 + world.random.below(world.machines.len() - 1);
            direct(world, group, (index + step) % world.machines.len());
        }
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
    let addresses = [machine.address, machine.six].map(|address| NodeAddress {
        address: address.to_string(),
        type_: "InternalIP".to_owned(),
    });
    node.status.get_or_insert_default().addresses = Some(addresses.to_vec());
    let stamp = world.api.stamp(world.now);
    let _: Result<(), _> = world.api.nodes.create(stamp, node);
}
