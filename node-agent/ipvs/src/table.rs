//! The IPVS table as a value: what is desired and what was observed have this one type.
//!
//! Key and configuration are different types. A key is what the kernel identifies an entry by and can never be
//! edited; a configuration is what SET_SERVICE and SET_DEST replace whole. Equality of configurations covers every
//! field. Values that this version does not know (a protocol, a forwarding method, a tunnel type, a scheduler) survive
//! reading, because entries of others must be shown and compared, never lost.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

mod apply;
mod config;
mod key;
pub use key::ParseKeyError;

/// Address family of a service or a destination (`AF_INET` = 2, `AF_INET6` = 10; the kernel answers EAFNOSUPPORT to any other).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`.
    Ipv6,
}

/// Transport protocol of an address service (`IPVS_SVC_ATTR_PROTOCOL`, an IP protocol number in 16 bits).
///
/// The kernel accepts any number (ESP and ICMP were measured), so others survive as [`Protocol::Other`].
/// Build it by [`Protocol::from_number`], so that 6 is always [`Protocol::Tcp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP, 6.
    Tcp,
    /// UDP, 17.
    Udp,
    /// SCTP, 132.
    Sctp,
    /// Any other protocol number. Never holds 6, 17 or 132.
    Other(u16),
}

/// What the kernel identifies a virtual service by.
///
/// Its text (also in serde) is `TCP 192.0.2.1:80`, `UDP [2001:db8::1]:53`, `IP50 192.0.2.1:0`, `FWM 7`, `FWM 7 IPv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServiceKey {
    /// A service on an address and a port. Port 0 takes every port.
    Address {
        /// Transport protocol.
        protocol: Protocol,
        /// Virtual address.
        address: IpAddr,
        /// Virtual port; 0 = all ports.
        port: u16,
    },
    /// A service on a firewall mark, one for each family. Mark 0 does not exist: the kernel takes it for an address service.
    FirewallMark {
        /// Family of the packets that the mark selects.
        family: Family,
        /// The whole mark; IPVS has no mask.
        mark: NonZeroU32,
    },
}

/// Name of a scheduler module (`rr`, `wlc`, `sh`, `mh`, …, or `none`). Any name is held; the kernel judges it (at most 15 bytes).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scheduler(String);

/// Bits of a service (`IP_VS_SVC_F_*`), without `IP_VS_SVC_F_HASHED`, which is the kernel's own.
///
/// That bit cannot be held: the kernel returns it with each service, and a NEW_SERVICE that carries it makes a
/// service that no look-up finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct ServiceFlags(u32);

/// Granularity of persistence (`IPVS_SVC_ATTR_NETMASK`, `ipvsadm -M`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Netmask {
    /// IPv4: a mask, also a non-contiguous one.
    Mask(Ipv4Addr),
    /// IPv6: a prefix length, 1 to 128 (the kernel refuses others with EINVAL, also for services without persistence).
    PrefixLength(u32),
}

/// What SET_SERVICE replaces whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Scheduler (`-s`).
    pub scheduler: Scheduler,
    /// Persistence, one-packet scheduling, scheduler flags (`-p`, `-o`, `-b`).
    pub flags: ServiceFlags,
    /// Persistence timeout in seconds (`-p N`). The kernel keeps it also without [`ServiceFlags::PERSISTENT`].
    pub timeout_seconds: u32,
    /// Persistence granularity (`-M`); [`Netmask::full`] when there is none.
    pub netmask: Netmask,
    /// Persistence engine (`--pe`), such as `sip`.
    pub persistence_engine: Option<String>,
}

/// What the kernel identifies a destination by, within its service: three ports of one address are three destinations.
///
/// Its text (also in serde) is `192.0.2.1:80` or `[2001:db8::1]:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DestinationKey {
    /// Address of the real server. Its family may differ from the service's only with [`ForwardingMethod::Tunnel`].
    pub address: IpAddr,
    /// Port of the real server. With direct routing and tunnels the kernel keeps it and does not use it.
    pub port: u16,
}

/// How packets travel to a destination (`IPVS_DEST_ATTR_FWD_METHOD`, the low three bits of `IP_VS_CONN_F_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ForwardingMethod {
    /// `IP_VS_CONN_F_MASQ`, 0 (`-m`).
    Masquerade,
    /// `IP_VS_CONN_F_LOCALNODE`, 1: observed only, never desired.
    Local,
    /// `IP_VS_CONN_F_TUNNEL`, 2 (`-i`).
    Tunnel,
    /// `IP_VS_CONN_F_DROUTE`, 3 (`-g`).
    DirectRouting,
    /// `IP_VS_CONN_F_BYPASS`, 4: observed only, never desired.
    Bypass,
    /// 5 to 7, which the kernel accepts and gives back.
    Other(u32),
}

/// Encapsulation (`IPVS_DEST_ATTR_TUN_TYPE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TunnelType {
    /// `IP_VS_CONN_F_TUNNEL_TYPE_IPIP`, 0: what the kernel takes when the attribute is missing.
    #[default]
    Ipip,
    /// `IP_VS_CONN_F_TUNNEL_TYPE_GUE`, 1. Needs a port.
    Gue,
    /// `IP_VS_CONN_F_TUNNEL_TYPE_GRE`, 2.
    Gre,
    /// 3 to 255, which the kernel accepts and gives back.
    Other(u8),
}

/// Bits of an encapsulation (`IP_VS_TUNNEL_ENCAP_FLAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TunnelFlags(pub u16);

/// Tunnel of a destination. The kernel keeps it with every forwarding method, and uses it with [`ForwardingMethod::Tunnel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tunnel {
    /// Encapsulation (`--tun-type`).
    pub kind: TunnelType,
    /// UDP port of GUE (`--tun-port`); 0 with the others.
    pub port: u16,
    /// Checksums (`--tun-csum`, `--tun-remcsum`).
    pub flags: TunnelFlags,
}

/// What SET_DEST replaces whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationConfig {
    /// Forwarding method (`-m`, `-i`, `-g`).
    pub method: ForwardingMethod,
    /// Share of new connections (`-w`); 0 = none. At most 2^31 − 1: the kernel's `int`, ERANGE beyond.
    pub weight: u32,
    /// Connections from which the destination is full (`-x`); 0 = no limit.
    pub upper_threshold: u32,
    /// Connections below which a full destination is used again (`-y`); 0 = three quarters of the upper.
    pub lower_threshold: u32,
    /// Encapsulation.
    pub tunnel: Tunnel,
}

/// A virtual service: its configuration and its destinations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Service {
    /// What SET_SERVICE replaces.
    pub config: ServiceConfig,
    /// The destinations.
    pub destinations: BTreeMap<DestinationKey, DestinationConfig>,
}

/// Idle timeouts of connections, in seconds (`ipvsadm --set`, `ipvsadm -L --timeout`): one set for a network namespace.
///
/// 0 stands for whatever it is, as in SET_CONFIG; no reply of the kernel holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timeouts {
    /// Of established TCP connections.
    pub tcp: u32,
    /// Of TCP connections after a FIN.
    pub tcp_fin: u32,
    /// Of UDP.
    pub udp: u32,
}

/// All virtual services of one network namespace, or the part of them that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table {
    /// The services.
    pub services: BTreeMap<ServiceKey, Service>,
}

#[cfg(test)]
mod tests;
