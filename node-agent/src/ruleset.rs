//! Packet filter and address translation of a node, in words of LVS: what nftables does for us beside IPVS.
//!
//! [`Ruleset`] is the value that is desired; [`Table`] is what nftables holds for it, as sets, maps and rules that do not
//! grow with services; [`Transaction`] is what turns one table into another, whole or not at all. Everything lives in the
//! one table `inet lvs_operator`: no other table is written, and an empty ruleset is no table.
//!
//! The table is written and read as JSON that serde_json's `Value` holds, not as the types of the crate `nftables`: that
//! has no text form (plans, logs and golden tests need one), and it decodes a whole listing or nothing, so that one rule
//! of an administrator with a word that it does not know would blind us for our own table instead of being drift.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ipvs::{DestinationKey, Protocol, ServiceKey};

mod command;
mod decode;
mod difference;
mod firewall;
mod program;
mod read;
mod table;
mod words;

pub use command::{Command, Refusal, Transaction};
pub use decode::decode;
pub use difference::difference;
pub use firewall::{Firewall, Hook};
pub use table::{Atom, Base, Chain, Data, Datum, Elements, Kind, Set, Table};

/// The name of our table, of family `inet`.
pub const TABLE: &str = "lvs_operator";

/// What nftables should do on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// VIPs of which everything is dropped that IPVS did not take (`undeclaredPorts: Drop`), ICMP and ICMPv6 excepted.
    pub guarded: BTreeSet<IpAddr>,
    /// What IPVS hands to this node's own sockets, and the guard must let pass: destinations by DR or TUN that are here.
    pub local: BTreeSet<Local>,
    /// Address, protocol and port of NAT real servers behind guarded VIPs: replies that IPVS did not take are dropped.
    pub replies: BTreeSet<(IpAddr, Protocol, u16)>,
    /// Connections whose source is rewritten too.
    pub full_nat: BTreeMap<Flow, Source>,
    /// Firewall marks that we set, by VIP, protocol and port.
    pub marks: BTreeMap<(IpAddr, Protocol, u16), u32>,
    /// Source NAT for networks of real servers.
    pub masquerade: BTreeSet<Masquerade>,
    /// Tunnel devices of ours, and the VIPs for which they unwrap.
    pub tunnels: BTreeMap<InterfaceName, BTreeSet<IpAddr>>,
    /// Where wrapped packets arrive that only [`Ruleset::directors`] may send.
    pub outer: BTreeSet<Outer>,
    /// The directors' own addresses.
    pub directors: BTreeSet<IpAddr>,
    /// The greatest TCP segment that fits through the tunnel, by VIP: announced by the real server, because a director by
    /// TUN never sees the packet that announces it.
    pub segments: BTreeMap<IpAddr, u16>,
    /// This node's own addresses that it asks real servers from, by the way of clients' packets.
    pub probe_sources: BTreeSet<IpAddr>,
    /// The VIPs that it asks: what comes from outside, says it is from one of these sources and goes there, is a probe that a
    /// real server without the VIP sent back, and is dropped.
    pub probed: BTreeSet<IpAddr>,
    /// The probes' own marks, which [`Ruleset::marks`] leaves alone.
    pub probe_marks: BTreeSet<u32>,
    /// Connections of TCP that are over: whatever their client sends is answered with a reset.
    pub cut: BTreeSet<Cut>,
}

/// A connection of TCP whose real server has left. IPVS knows it still, and would drop its packets without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// Whose it was.
    pub client: SocketAddr,
    /// Where the client sends to.
    pub vip: SocketAddr,
}

/// Packets for this node's own sockets behind IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Local {
    /// Of one service.
    Port {
        /// VIP.
        vip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
    },
    /// Of a service of every port.
    Protocol {
        /// VIP.
        vip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
    },
    /// Of a service by firewall mark.
    Mark {
        /// VIP.
        vip: IpAddr,
        /// The mark.
        mark: u32,
    },
}

/// Connections of one service to one real server. Keyed by the real server, because methods may differ within a service;
/// not by the VIP's port, which nft before 1.0.9 cannot put into a concatenation (`ct original proto-dst`, measured with
/// 1.0.6): two services of a VIP that meet on one port of a real server are both FullNAT there, or none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// To one port of the real server.
    Port {
        /// VIP.
        vip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// The real server.
        server: IpAddr,
        /// Its port.
        port: u16,
    },
    /// Of a service of every port: ports are kept.
    Protocol {
        /// VIP.
        vip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// The real server.
        server: IpAddr,
    },
    /// Of a service by firewall mark, which stays on the packets.
    Mark {
        /// The mark.
        mark: u32,
        /// The real server.
        server: IpAddr,
    },
}

impl Flow {
    /// The connections that IPVS forwards for one destination of one service.
    pub fn of(key: ServiceKey, to: DestinationKey) -> Self {
        let server = to.address;
        match key {
            ServiceKey::Address {
                protocol,
                address: vip,
                port: _,
            } if to.port == 0 => Self::Protocol { vip, protocol, server },
            ServiceKey::Address {
                protocol,
                address: vip,
                port: _,
            } => Self::Port {
                vip,
                protocol,
                server,
                port: to.port,
            },
            ServiceKey::FirewallMark { family: _, mark } => Self::Mark {
                mark: mark.get(),
                server,
            },
        }
    }

    /// The real server.
    pub fn server(&self) -> IpAddr {
        match self {
            Self::Port {
                vip: _,
                protocol: _,
                server,
                port: _,
            }
            | Self::Protocol {
                vip: _,
                protocol: _,
                server,
            }
            | Self::Mark { mark: _, server } => *server,
        }
    }
}

/// What FullNAT speaks to a real server from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The outgoing interface's own address.
    Interface,
    /// These in turn, so that each adds about 64,000 connections to one real server.
    Addresses(BTreeSet<IpAddr>),
    /// Nothing new: it was FullNAT, and connections may live that need connection tracking to go on. The last rule that
    /// needs it takes it away from all of them (measured).
    Retired,
}

/// One rule of source NAT. They are tried in order: the narrower network first, and with an interface before without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Packets from here.
    pub network: IpNet,
    /// That leave by this interface; `None` = that do not go back to the network.
    pub out_interface: Option<InterfaceName>,
    /// The new source, one of these for each client; empty = the interface's own.
    pub addresses: BTreeSet<IpAddr>,
}

impl Masquerade {
    fn rank(&self) -> impl Ord + '_ {
        let Self {
            network,
            out_interface,
            addresses,
        } = self;
        let narrow = std::cmp::Reverse(network.prefix_len());
        (narrow, *network, out_interface.is_none(), out_interface, addresses)
    }
}

impl PartialOrd for Masquerade {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Masquerade {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// Where wrapped packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outer {
    /// By an IP protocol: 4 (IPIP), 41 (IPv6 in IPv4), 47 (GRE).
    Protocol {
        /// The outer destination.
        local: IpAddr,
        /// Its number.
        protocol: u8,
    },
    /// By a UDP port: GUE.
    Port {
        /// The outer destination.
        local: IpAddr,
        /// The port.
        port: u16,
    },
}

/// The name of a network interface that means only itself to nft, where `eth*` is a wildcard and `@eth` a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceName(String);

/// A text that cannot be written into a rule as the name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an interface that a firewall rule may hold: 1 to 15 letters, digits and . _ - : +")]
pub struct NotAnInterface(pub String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for InterfaceName {
    type Error = NotAnInterface;

    fn try_from(name: &str) -> Result<Self, NotAnInterface> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:+".contains(&byte);
        if (1..=15).contains(&name.len()) && name.bytes().all(is_plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(NotAnInterface(name.to_owned()))
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ruleset {
    /// What nftables holds for it; `None` when it asks for nothing.
    pub fn table(&self) -> Option<Table> {
        (*self != Self::default()).then(|| program::program(self))
    }

    /// What a table holds of this kind. What it holds besides is not in the value; [`difference`] removes it.
    pub fn of(table: Option<&Table>) -> Self {
        table.map(read::ruleset).unwrap_or_default()
    }

    /// Whether connection tracking is needed: FullNAT and source NAT live on it.
    pub fn tracks_connections(&self) -> bool {
        !self.full_nat.is_empty() || !self.masquerade.is_empty()
    }

    /// Whether an address, of a VIP or of a real server, stands in any of it.
    pub fn concerns(&self, address: IpAddr) -> bool {
        let is_flow = |flow: &Flow| match flow {
            Flow::Port { vip, server, .. } | Flow::Protocol { vip, server, .. } => [*vip, *server].contains(&address),
            Flow::Mark { mark: _, server } => *server == address,
        };
        self.guarded.contains(&address)
            || self.marks.keys().any(|(vip, _, _)| *vip == address)
            || self.tunnels.values().any(|vips| vips.contains(&address))
            || self.full_nat.keys().any(is_flow)
            || self
                .full_nat
                .values()
                .any(|source| matches!(source, Source::Addresses(own) if own.contains(&address)))
    }

    /// This, and what `other` has besides: the state between the two, which takes nothing away from either. Where both
    /// have something to say of the same packets, this wins.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let Self {
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
        } = other.clone();
        let mut both = self.clone();
        both.guarded.extend(guarded);
        both.local.extend(local);
        both.replies.extend(replies);
        merge(&mut both.full_nat, full_nat);
        merge(&mut both.marks, marks);
        let replaced = |theirs: &Masquerade| {
            let same =
                |ours: &Masquerade| (ours.network, &ours.out_interface) == (theirs.network, &theirs.out_interface);
            self.masquerade.iter().any(same)
        };
        both.masquerade
            .extend(masquerade.into_iter().filter(|theirs| !replaced(theirs)));
        for (device, vips) in tunnels {
            both.tunnels.entry(device).or_default().extend(vips);
        }
        both.outer.extend(outer);
        both.directors.extend(directors);
        merge(&mut both.segments, segments);
        both.probe_sources.extend(probe_sources);
        both.probed.extend(probed);
        both.probe_marks.extend(probe_marks);
        both.cut.extend(cut);
        both
    }
}

fn merge<K: Ord, V>(ours: &mut BTreeMap<K, V>, theirs: BTreeMap<K, V>) {
    for (key, value) in theirs {
        ours.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests;
