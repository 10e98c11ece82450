//! The kernel's state as values: the nouns of what is desired and what was observed, and the facts that are not ours to set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use ipvs::{Family, ServiceKey, Table, Timeouts};
use serde::{Deserialize, Serialize};

use crate::ruleset::{Cut, Firewall, Ruleset};

mod sysctl;
use crate::tunnel::{GuePort, ReadTunnel, Tunnel, is_name_of_ours};
pub use sysctl::{Knob, Requirement, SILENCE, Sysctl};

/// `IFA_PROTO` of every address that we add (`ip address … proto 77`): how we know our own, also without a ledger.
/// rtnetlink reserves 0 to 3 for the kernel (include/uapi/linux/if_addr.h); the rest is user space's. Linux 5.18 and later.
pub const ADDRESS_PROTOCOL: u8 = 77;

/// The loopback interface, where real servers hold the VIPs.
pub const LOOPBACK: &str = "lo";

/// What of the kernel's state is ours to set, as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelState {
    /// IPVS services and destinations.
    pub ipvs: Table,
    /// Addresses that carry our [`ADDRESS_PROTOCOL`].
    pub addresses: BTreeMap<AddressKey, AddressConfig>,
    /// What knobs must be.
    pub sysctls: BTreeMap<Sysctl, Requirement>,
    /// What unwraps the packets of real servers by TUN.
    pub unwrapping: Unwrapping,
    /// Idle timeouts of IPVS connections; 0 = nobody asks for one.
    pub timeouts: Timeouts,
    /// Our table of nftables.
    pub ruleset: Ruleset,
    /// Which services make it worth holding an address: a VIP none of whose services is programmed would only refuse its
    /// clients. Not itself a state of the kernel.
    pub serves: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
}

/// What takes packets out of tunnels on this host, and for whom. The VIPs are addresses on the devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwrapping {
    /// Tunnel devices by name.
    pub tunnels: BTreeMap<String, Tunnel>,
    /// UDP ports of GUE.
    pub ports: BTreeSet<GuePort>,
    /// The directors' own addresses: nobody else's packets are to be unwrapped.
    pub senders: BTreeSet<IpAddr>,
    /// The TCP segment size that the real servers must tell the clients of a VIP, so that what comes fits through the tunnel.
    pub segments: BTreeMap<IpAddr, u16>,
}

/// What an address is identified by. Ordered by address first: see [`AddressKey::all_of`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AddressKey {
    /// The address.
    pub address: IpAddr,
    /// Interface name.
    pub interface: String,
}

impl AddressKey {
    /// Where an address is, without a look at all the others: a director may hold ten thousand VIPs.
    pub fn all_of<V>(addresses: &BTreeMap<Self, V>, address: IpAddr) -> impl Iterator<Item = &Self> {
        let first = Self {
            address,
            interface: String::new(),
        };
        let from = addresses.range(first..).map(|(key, _)| key);
        from.take_while(move |key| key.address == address)
    }

    /// Whether it is where a host of real servers has its VIPs: on `lo`, or on a tunnel device of ours. All other ones are a
    /// director's.
    pub fn is_of_host(&self) -> bool {
        self.interface == LOOPBACK || is_name_of_ours(&self.interface)
    }
}

/// The rest of an address. A change of it is a deletion and an addition: the kernel edits only lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressConfig {
    /// /32 for IPv4 and /128 for IPv6 VIPs.
    pub prefix_length: u8,
    /// Host on a real server's `lo`: never chosen as a source address.
    pub scope: AddressScope,
    /// Seconds after which the kernel takes it away by itself (`valid_lft`); `None` = for ever. Compared by presence only:
    /// what remains of it falls while it is read.
    pub lifetime: Option<u32>,
}

impl AddressConfig {
    /// Whether nothing needs to be changed: a running lifetime is the same lifetime.
    pub fn same_as(self, other: Self) -> bool {
        let Self {
            prefix_length,
            scope,
            lifetime,
        } = self;
        (prefix_length, scope, lifetime.is_some()) == (other.prefix_length, other.scope, other.lifetime.is_some())
    }
}

/// `ip address … scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AddressScope {
    /// Valid everywhere.
    Global,
    /// Valid inside this host only.
    Host,
    /// Any other, as read.
    Other(u8),
}

/// What the node is like, and what we never set: the other half of an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Routes of the main table.
    pub routes: BTreeSet<Route>,
    /// Tunnel devices by name, ours and those of others.
    pub tunnels: BTreeMap<String, ReadTunnel>,
    /// Addresses of this host that do not carry our mark.
    pub foreign_addresses: BTreeMap<IpAddr, String>,
    /// VIPs that somebody on the link answered for, when we asked before adding them.
    pub answered: BTreeSet<IpAddr>,
    /// Base chains of other people's tables that drop by policy.
    pub firewalls: BTreeSet<Firewall>,
    /// Connections whose real server has left: to be reset for as long as IPVS would know them.
    pub cut: BTreeSet<Cut>,
}

/// A network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Interface index, which an interface of the same name made later does not share.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// It speaks ARP: Ethernet, without `IFF_NOARP` or `IFF_LOOPBACK`.
    pub arp: bool,
    /// It is a port of a bridge or a bond, which speaks ARP in its place.
    pub enslaved: bool,
    /// It is one end of a veth pair: without an address of its own, the host's end of a container's.
    pub veth: bool,
    /// It has an IPv4 address that is not ours.
    pub addressed: bool,
    /// The longest packet that it carries.
    pub mtu: u32,
}

impl Interface {
    /// Whether an ARP request for a VIP can come in here: the interfaces on which a real server must keep silent.
    ///
    /// Ports of a bridge or bond do not answer themselves. The host's end of a container's veth has no address, and its
    /// peer asks for nothing but its gateway; there are hundreds of them.
    pub fn can_receive_arp(self) -> bool {
        self.arp && !self.enslaved && (!self.veth || self.addressed)
    }
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination network; 0.0.0.0/0 is the default route.
    pub network: IpNet,
    /// Lower wins among routes to one network.
    pub metric: u32,
    /// The interface it leaves by.
    pub interface: String,
    /// The next router; `None` for what is on the link.
    pub gateway: Option<IpAddr>,
    /// The address that it is to be left from, where the route says so: those that the kernel makes itself do, of IPv4.
    pub source: Option<IpAddr>,
}

impl Facts {
    /// Addresses of this host that others may reach it by, VIPs excepted.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let is_reachable = |address: &IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        };
        // What the kernel gives an IPv6 tunnel device by itself is nothing to reach us by.
        let addresses = self
            .foreign_addresses
            .iter()
            .filter(|(_, interface)| !is_name_of_ours(interface));
        addresses.map(|(address, _)| *address).filter(is_reachable)
    }

    /// Whether packets to `address` end at this host, by nothing of our doing.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.foreign_addresses.contains_key(&address)
    }

    /// The route to `address`: longest prefix, then metric, then name of the interface.
    pub fn route_to(&self, address: IpAddr) -> Option<&Route> {
        let better = |a: &&Route, b: &&Route| {
            let rank = |r: &Route| (r.network.prefix_len(), std::cmp::Reverse(r.metric));
            rank(a).cmp(&rank(b)).then_with(|| b.interface.cmp(&a.interface))
        };
        let routes = self.routes.iter().filter(|r| r.network.contains(&address));
        routes.max_by(better)
    }

    /// The node's own address, of this family, that packets to `address` are to come from. No VIP, whoever holds it: those
    /// of ours are none of the host's, and of others' addresses the one that a route names goes first.
    pub fn source_to(&self, address: IpAddr, family: Family) -> Option<IpAddr> {
        let route = self.route_to(address)?;
        let link = match route.gateway {
            None => Some(route),
            Some(gateway) => self.route_to(gateway).filter(|link| link.gateway.is_none()),
        };
        let named = [route.source, link.and_then(|link| link.source)].into_iter().flatten();
        let on_interface = || {
            let is_there = |own: &IpAddr| self.foreign_addresses.get(own) == Some(&route.interface);
            self.own_addresses().filter(is_there)
        };
        let beside = on_interface().filter(|own| link.is_some_and(|link| link.network.contains(own)));
        let mut all = named.chain(beside).chain(on_interface()).chain(self.own_addresses());
        all.find(|own| Family::of(*own) == family && self.is_own(*own))
    }

    /// The interface that routes to `address`.
    pub fn interface_to(&self, address: IpAddr) -> Option<&str> {
        self.route_to(address).map(|route| route.interface.as_str())
    }
}
