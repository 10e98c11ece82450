//! From the devices and ports that should be to those that are. What is not ours is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{ALIAS, GuePort, ReadTunnel, Receiver, Tunnel, is_name_of_ours};

/// A change of a tunnel device or of a port. Prints as the lines that an administrator would type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `ip link add`, set up and marked as ours.
    AddDevice {
        /// Its name.
        name: String,
        /// How.
        tunnel: Tunnel,
    },
    /// Deleted and added: the kernel does not edit what a tunnel device takes. Its addresses go with it.
    ReplaceDevice {
        /// Its name.
        name: String,
        /// How it becomes.
        tunnel: Tunnel,
    },
    /// `ip link set … up`, and marked as ours.
    SetUp {
        /// The device.
        name: String,
    },
    /// `ip link delete`.
    DeleteDevice {
        /// The device.
        name: String,
    },
    /// `ip fou add`.
    AddPort {
        /// The port.
        port: GuePort,
    },
    /// `ip fou del`.
    DeletePort {
        /// The port.
        port: GuePort,
    },
}

impl Change {
    /// Whether something is gone after it that was there before.
    pub fn takes_away(&self) -> bool {
        match self {
            Self::DeleteDevice { name: _ } | Self::DeletePort { port: _ } => true,
            Self::AddDevice { name: _, tunnel: _ }
            | Self::ReplaceDevice { name: _, tunnel: _ }
            | Self::SetUp { name: _ }
            | Self::AddPort { port: _ } => false,
        }
    }

    /// The device that it is about.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::AddDevice { name, tunnel: _ }
            | Self::ReplaceDevice { name, tunnel: _ }
            | Self::SetUp { name }
            | Self::DeleteDevice { name } => Some(name),
            Self::AddPort { port: _ } | Self::DeletePort { port: _ } => None,
        }
    }

    /// The device that is made by it.
    pub fn makes(&self) -> Option<&str> {
        match self {
            Self::AddDevice { name, tunnel: _ } | Self::ReplaceDevice { name, tunnel: _ } => Some(name),
            Self::SetUp { name: _ }
            | Self::DeleteDevice { name: _ }
            | Self::AddPort { port: _ }
            | Self::DeletePort { port: _ } => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddDevice { name, tunnel } => {
                write!(
                    f,
                    "ip link add {name} type {tunnel} && ip link set {name} up alias {ALIAS}"
                )
            }
            Self::ReplaceDevice { name, tunnel } => write!(
                f,
                "ip link delete {name} && ip link add {name} type {tunnel} && ip link set {name} up alias {ALIAS}"
            ),
            Self::SetUp { name } => write!(f, "ip link set {name} up alias {ALIAS}"),
            Self::DeleteDevice { name } => write!(f, "ip link delete {name}"),
            Self::AddPort { port } => write!(f, "ip fou add {port} gue"),
            Self::DeletePort { port } => write!(f, "ip fou del {port}"),
        }
    }
}

/// What the ledger has of it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Names of devices.
    pub tunnels: &'a BTreeSet<String>,
    /// Ports.
    pub ports: &'a BTreeSet<GuePort>,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is to be made, devices first: a port without one answers "protocol unreachable".
    pub up: Vec<Change>,
    /// What is to go, in reverse.
    pub down: Vec<Change>,
    /// Devices that the ledger must name before the first change.
    pub new_tunnels: Vec<String>,
    /// Ports that the ledger must name before the first change.
    pub new_ports: Vec<GuePort>,
    /// Devices that have a name of ours and are somebody else's: not overwritten.
    pub foreign_tunnels: BTreeSet<String>,
    /// Ports on which somebody else unwraps something else: not overwritten.
    pub foreign_ports: BTreeSet<GuePort>,
}

/// The changes that turn what was read into what is desired. `ports` is `None` while it is unknown what is unwrapped on UDP.
pub fn difference(
    tunnels: (&BTreeMap<String, Tunnel>, &BTreeMap<String, ReadTunnel>),
    ports: (&BTreeSet<GuePort>, Option<&BTreeMap<GuePort, Receiver>>),
    recorded: Recorded<'_>,
) -> Difference {
    let mut difference = Difference::default();
    devices(&mut difference, tunnels.0, tunnels.1, recorded.tunnels);
    let is_lost = tunnels
        .1
        .iter()
        .any(|(name, read)| is_ours(name, read) && !recorded.tunnels.contains(name));
    if let (desired, Some(observed)) = ports {
        gue_ports(&mut difference, desired, observed, recorded.ports, is_lost);
    }
    difference.down.reverse();
    difference
}

/// Whether a device says by itself that it is ours.
fn is_ours(name: &str, read: &ReadTunnel) -> bool {
    read.marked && is_name_of_ours(name)
}

fn devices(
    difference: &mut Difference,
    desired: &BTreeMap<String, Tunnel>,
    observed: &BTreeMap<String, ReadTunnel>,
    recorded: &BTreeSet<String>,
) {
    let ours = |name: &String, read: &ReadTunnel| is_ours(name, read) || recorded.contains(name);
    for (name, tunnel) in desired {
        let (name, tunnel) = (name.clone(), tunnel.clone());
        let present = observed.get(&name);
        if present.is_some_and(|read| !ours(&name, read)) {
            difference.foreign_tunnels.insert(name);
            continue;
        }
        if !recorded.contains(&name) {
            difference.new_tunnels.push(name.clone());
        }
        difference.up.extend(match present {
            None => Some(Change::AddDevice { name, tunnel }),
            Some(read) if read.tunnel != tunnel => Some(Change::ReplaceDevice { name, tunnel }),
            Some(read) if !read.up || !read.marked => Some(Change::SetUp { name }),
            Some(_) => None,
        });
    }
    for (name, read) in observed {
        if !desired.contains_key(name) && ours(name, read) {
            if !recorded.contains(name) {
                difference.new_tunnels.push(name.clone());
            }
            difference.down.push(Change::DeleteDevice { name: name.clone() });
        }
    }
}

/// A port carries no mark. One that is as it should be is used; it becomes ours where a ledger was lost, which devices of
/// ours that it does not know tell.
fn gue_ports(
    difference: &mut Difference,
    desired: &BTreeSet<GuePort>,
    observed: &BTreeMap<GuePort, Receiver>,
    recorded: &BTreeSet<GuePort>,
    is_lost: bool,
) {
    for port in desired {
        match observed.get(port) {
            None => {
                if !recorded.contains(port) {
                    difference.new_ports.push(*port);
                }
                difference.up.push(Change::AddPort { port: *port });
            }
            Some(Receiver::Gue) if is_lost && !recorded.contains(port) => difference.new_ports.push(*port),
            Some(Receiver::Gue) => {}
            Some(Receiver::Other) => {
                difference.foreign_ports.insert(*port);
            }
        }
    }
    let ours = |(port, receiver): &(&GuePort, &Receiver)| recorded.contains(port) && **receiver == Receiver::Gue;
    let leftover = observed.iter().filter(ours).filter(|(port, _)| !desired.contains(port));
    difference
        .down
        .extend(leftover.map(|(port, _)| Change::DeletePort { port: *port }));
}
