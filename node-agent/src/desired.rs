//! From Placements and facts to the state that the kernel should have. Total: what cannot be had is a problem of its
//! Placement, and its neighbours go on.
//!
//! The one place that translates the API's words into the kernel's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::DirectorAddress;
use ipvs::ServiceKey;

use crate::checks::Ways;
use crate::state::{AddressConfig, AddressScope, Facts, KernelState};
use crate::tunnel::Obstacle;
use crate::view::{PlacementKey, View};

mod change;
mod decapsulation;
mod director;
mod host;
mod preparation;
mod probes;
mod ruleset;
mod services;

pub use change::{ServiceChange, service_change};
pub use decapsulation::way_to;
pub use host::hosted;
pub use probes::{is_for_probes, let_in, open};
pub use ruleset::retired;
pub use services::keys;
pub(crate) use services::{destinations, port as destination_port, way};

/// The desired state, and what of the Placements cannot be part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// What the kernel should have.
    pub state: KernelState,
    /// What stands in the way, by Placement.
    pub problems: BTreeMap<PlacementKey, Vec<Problem>>,
    /// How probes go by the way of clients' packets, when the kernel has the state.
    pub ways: Ways,
}

/// Why a part of a Placement is not desired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The host has the address by somebody else's doing: as a VIP it would hijack the host's own ports.
    #[error(
        "{address} is an address of this node ({interface}) and not of lvs-operator's doing: choose another VIP, or remove it there"
    )]
    AddressOfHost {
        /// The VIP.
        address: IpAddr,
        /// Where it is.
        interface: String,
    },
    /// Somebody else on the link answers for it.
    #[error("somebody on the link answers ARP for {address}: it is not added a second time")]
    Answered {
        /// The VIP.
        address: IpAddr,
    },
    /// The interface that should carry it is not there.
    #[error("there is no interface {interface} to carry {address}: correct spec.interface of the DirectorGroup")]
    NoInterface {
        /// The VIP.
        address: IpAddr,
        /// The missing interface.
        interface: String,
    },
    /// No route tells which interface should carry it.
    #[error("no route leads to {address}: set spec.interface of the DirectorGroup")]
    NoRoute {
        /// The VIP.
        address: IpAddr,
    },
    /// Two Placements want one service; the first by name has it.
    #[error("{key} is already a service of another VirtualService on this node")]
    ServiceTaken {
        /// The service.
        key: ServiceKey,
    },
    /// Two groups that meet on this node ask for different timeouts; the first by name has its way.
    #[error("another DirectorGroup on this node has other timeouts: make them equal")]
    TimeoutsDisagree,
    /// A real server by TUN cannot be reached here.
    #[error("{0}")]
    NoWay(Obstacle),
    /// Two real servers with one address want GRE with and without checksum; the kernel has one device for both.
    #[error(
        "two real servers by GRE with the address {address} on this node differ in their checksum: make tunnel.checksum equal"
    )]
    ChecksumsDisagree {
        /// The real servers' address.
        address: IpAddr,
    },
    /// The operator wrote what no schema of ours allows.
    #[error("the Placement holds {value:?}, which is no {kind}")]
    BadValue {
        /// What it should be.
        kind: &'static str,
        /// What it is.
        value: String,
    },
}

/// The state that these Placements ask of a node with these facts.
///
/// # Guarantees
/// Same input, same output; it never fails and never waits.
pub fn desired(view: &View, facts: &Facts) -> Desired {
    let mut desired = Desired::default();
    let hosted = hosted(view);
    for (key, placed) in &view.placements {
        if let Some(part) = &placed.spec.director {
            let problems = director::add(&mut desired.state, part, &placed.serving, facts, &hosted);
            desired.note(key, problems);
        }
        if let Some(part) = &placed.spec.virtual_router
            && !part.withdraw
        {
            let (rules, mut problems) = ruleset::masquerades(part);
            problems.extend(preparation::of_group(&mut desired.state, part, &rules, facts));
            desired.state.ruleset.masquerade.extend(rules);
            desired.note(key, problems);
        }
    }
    let held: BTreeSet<IpAddr> = desired.state.addresses.keys().map(|key| key.address).collect();
    for (key, placed) in &view.placements {
        if let Some(part) = &placed.spec.real_server {
            let problems = host::add(&mut desired.state, part, facts, &held);
            desired.note(key, problems);
        }
    }
    ruleset::of_unwrapping(&mut desired.state);
    desired.state.ruleset.cut.clone_from(&facts.cut);
    desired.ways = probes::add(&mut desired.state, view, facts);
    desired
}

impl Desired {
    fn note(&mut self, key: &PlacementKey, problems: Vec<Problem>) {
        if !problems.is_empty() {
            self.problems.entry(key.clone()).or_default().extend(problems);
        }
    }
}

/// The interface that should carry a VIP on a director.
///
/// # Errors
/// It is not there, or no route tells it.
pub fn carrier(entry: &DirectorAddress, vip: IpAddr, facts: &Facts) -> Result<String, Problem> {
    match &entry.interface {
        Some(interface) if facts.interfaces.contains_key(interface) => Ok(interface.clone()),
        Some(interface) => Err(Problem::NoInterface {
            address: vip,
            interface: interface.clone(),
        }),
        None => facts
            .interface_to(vip)
            .map(str::to_owned)
            .ok_or(Problem::NoRoute { address: vip }),
    }
}

fn not_of_host(vip: IpAddr, facts: &Facts) -> Result<(), Problem> {
    match facts.foreign_addresses.get(&vip) {
        Some(interface) => Err(Problem::AddressOfHost {
            address: vip,
            interface: interface.clone(),
        }),
        None => Ok(()),
    }
}

fn single_address(vip: IpAddr, scope: AddressScope) -> AddressConfig {
    let (prefix_length, scope) = match vip {
        IpAddr::V4(_) => (32, scope),
        // The kernel derives the scope of IPv6 addresses from the address.
        IpAddr::V6(_) => (128, AddressScope::Global),
    };
    AddressConfig {
        prefix_length,
        scope,
        lifetime: None,
    }
}

/// An address of a Placement.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::BadValue {
        kind: "IP address",
        value: text.to_owned(),
    })
}
