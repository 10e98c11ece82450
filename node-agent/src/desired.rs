//! From Placements and facts to the state that the kernel should have. Total: what cannot be had is a problem of its
//! Placement, and its neighbours go on.
//!
//! The one place that translates the API's words into the kernel's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{AddressOwner, DirectorAddress, DirectorPart, HostAddress, PlacedRealServer, PlacedService};
use ipvs::{DestinationConfig, DestinationKey, Family, ForwardingMethod, Protocol, Service, ServiceConfig, ServiceKey};

use crate::state::{AddressConfig, AddressKey, AddressScope, Facts, KNOBS, KernelState, LOOPBACK, Sysctl};
use crate::view::{PlacementKey, View};

/// The desired state, and what of the Placements cannot be part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// What the kernel should have.
    pub state: KernelState,
    /// What stands in the way, by Placement.
    pub problems: BTreeMap<PlacementKey, Vec<Problem>>,
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
    for (key, placed) in &view.placements {
        if let Some(part) = &placed.spec.director {
            let problems = director(&mut desired.state, part, facts);
            desired.note(key, problems);
        }
    }
    let held: BTreeSet<IpAddr> = desired.state.addresses.keys().map(|key| key.address).collect();
    for (key, placed) in &view.placements {
        if let Some(part) = &placed.spec.real_server {
            let problems = host(&mut desired.state, &part.addresses, facts, &held);
            desired.note(key, problems);
        }
    }
    desired
}

impl Desired {
    fn note(&mut self, key: &PlacementKey, problems: Vec<Problem>) {
        if !problems.is_empty() {
            self.problems.entry(key.clone()).or_default().extend(problems);
        }
    }
}

fn director(state: &mut KernelState, part: &DirectorPart, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in part.addresses.iter().filter(|entry| !entry.withdraw) {
        let added = address(&entry.address).and_then(|vip| {
            not_of_host(vip, facts)?;
            services(state, part, vip, &mut problems);
            director_address(state, entry, vip, facts)
        });
        problems.extend(added.err());
    }
    problems
}

/// The services of a part on one VIP. They are programmed also where the VIP is only reserved: becoming the holder is then
/// the VIP alone.
fn services(state: &mut KernelState, part: &DirectorPart, vip: IpAddr, problems: &mut Vec<Problem>) {
    for placed in &part.services {
        let Ok(port) = u16::try_from(placed.port) else {
            problems.push(Problem::BadValue {
                kind: "port",
                value: placed.port.to_string(),
            });
            continue;
        };
        let key = service_key(placed, vip, port);
        if state.ipvs.services.contains_key(&key) {
            problems.push(Problem::ServiceTaken { key });
            continue;
        }
        let mut destinations = BTreeMap::new();
        for server in &part.real_servers {
            match destinations_of(server, vip, port) {
                Ok(entries) => destinations.extend(entries),
                Err(problem) => problems.push(problem),
            }
        }
        state.ipvs.services.insert(
            key,
            Service {
                config: service_config(placed, vip),
                destinations,
            },
        );
    }
}

/// The service of a placed port on a VIP.
pub fn service_key(placed: &PlacedService, vip: IpAddr, port: u16) -> ServiceKey {
    let protocol = match placed.protocol {
        crds::Protocol::Tcp => Protocol::Tcp,
        crds::Protocol::Udp => Protocol::Udp,
    };
    ServiceKey::address(protocol, vip, port)
}

fn service_config(placed: &PlacedService, vip: IpAddr) -> ServiceConfig {
    ServiceConfig::new(placed.scheduler.as_str(), Family::of(vip))
}

fn destinations_of(
    server: &PlacedRealServer,
    vip: IpAddr,
    port: u16,
) -> Result<Vec<(DestinationKey, DestinationConfig)>, Problem> {
    let mut entries = Vec::new();
    if !prepared_for(server, vip) {
        return Ok(entries);
    }
    let weight = u32::try_from(server.weight).map_err(|_| Problem::BadValue {
        kind: "weight",
        value: server.weight.to_string(),
    })?;
    let method = match server.forwarding_method {
        crds::ForwardingMethod::DR => ForwardingMethod::DirectRouting,
    };
    for text in &server.addresses {
        let address = address(text)?;
        if address.is_ipv4() == vip.is_ipv4() {
            entries.push((
                DestinationKey::new(address, port),
                DestinationConfig::new(method, weight),
            ));
        }
    }
    Ok(entries)
}

fn prepared_for(server: &PlacedRealServer, vip: IpAddr) -> bool {
    server.prepared.iter().any(|text| text.parse() == Ok(vip))
}

fn director_address(
    state: &mut KernelState,
    entry: &DirectorAddress,
    vip: IpAddr,
    facts: &Facts,
) -> Result<(), Problem> {
    match entry.address_owner {
        AddressOwner::Reserved => return Ok(()),
        AddressOwner::Node => {}
    }
    if facts.answered.contains(&vip) {
        return Err(Problem::Answered { address: vip });
    }
    let interface = carrier(entry, vip, facts)?;
    state.addresses.insert(
        AddressKey {
            interface,
            address: vip,
        },
        single_address(vip, AddressScope::Global),
    );
    Ok(())
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

/// A host's VIPs on `lo`, unless this node answers for them itself; and the interfaces that must be silent about them.
fn host(state: &mut KernelState, addresses: &[HostAddress], facts: &Facts, held: &BTreeSet<IpAddr>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in addresses.iter().filter(|entry| !entry.withdraw) {
        let vip = match address(&entry.address).and_then(|vip| not_of_host(vip, facts).map(|()| vip)) {
            Ok(vip) => vip,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if vip.is_ipv4() {
            silence(state, facts);
        }
        if !held.contains(&vip) {
            let key = AddressKey {
                interface: LOOPBACK.to_owned(),
                address: vip,
            };
            state.addresses.insert(key, single_address(vip, AddressScope::Host));
        }
    }
    problems
}

fn silence(state: &mut KernelState, facts: &Facts) {
    for (name, interface) in &facts.interfaces {
        if interface.can_receive_arp() {
            for knob in KNOBS {
                state.sysctls.insert(
                    Sysctl {
                        interface: name.clone(),
                        knob,
                    },
                    knob.silent(),
                );
            }
        }
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
