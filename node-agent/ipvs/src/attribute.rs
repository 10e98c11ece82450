//! Attributes of the `IPVS` family, in `include/uapi/linux/ip_vs.h`'s names and in three byte orders.
//!
//! Ports and an IPv4 netmask travel in network order; marks, flags, families, protocols, weights and tunnel flags in
//! host order. What is unknown, or known and of an unexpected length, survives as `Other`: never an error.

use netlink_packet_core::{DecodeError, DefaultNla, NLA_F_NESTED, Nla, NlaBuffer, Parseable};

use crate::uapi::*;

mod value;
pub(crate) use value::{Parts, length, write};
use value::{Value, decode_known, fixed, nest, text};

/// The longest name that is sent. The kernel takes at most 15 bytes and answers EINVAL to any longer one, so that
/// cutting a longer name here changes no answer, and no name can overflow an attribute's 16-bit length.
const LONGEST_NAME: usize = 255;

/// Attributes of the first level.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// `IPVS_CMD_ATTR_SERVICE`, nested.
    Service(Vec<ServiceAttribute>),
    /// `IPVS_CMD_ATTR_DEST`, nested.
    Destination(Vec<DestinationAttribute>),
    /// `IPVS_CMD_ATTR_TIMEOUT_TCP`, seconds.
    TimeoutTcp(u32),
    /// `IPVS_CMD_ATTR_TIMEOUT_TCP_FIN`, seconds.
    TimeoutTcpFin(u32),
    /// `IPVS_CMD_ATTR_TIMEOUT_UDP`, seconds.
    TimeoutUdp(u32),
    /// `IPVS_INFO_ATTR_VERSION`, only in the reply to GET_INFO: 0x010201 = 1.2.1.
    Version(u32),
    /// `IPVS_INFO_ATTR_CONN_TAB_SIZE`, only in the reply to GET_INFO.
    ConnectionTableSize(u32),
    /// Anything else, unchanged.
    Other(DefaultNla),
}

impl Parts for Attribute {
    fn parts(&self) -> (u16, Value<'_>) {
        match self {
            Self::Service(attributes) => (IPVS_CMD_ATTR_SERVICE | NLA_F_NESTED, Value::Service(attributes)),
            Self::Destination(attributes) => (IPVS_CMD_ATTR_DEST | NLA_F_NESTED, Value::Destination(attributes)),
            Self::TimeoutTcp(seconds) => (IPVS_CMD_ATTR_TIMEOUT_TCP, Value::host(*seconds)),
            Self::TimeoutTcpFin(seconds) => (IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, Value::host(*seconds)),
            Self::TimeoutUdp(seconds) => (IPVS_CMD_ATTR_TIMEOUT_UDP, Value::host(*seconds)),
            Self::Version(version) => (IPVS_INFO_ATTR_VERSION, Value::host(*version)),
            Self::ConnectionTableSize(size) => (IPVS_INFO_ATTR_CONN_TAB_SIZE, Value::host(*size)),
            Self::Other(other) => (other.kind(), Value::Other(other)),
        }
    }
}

impl Attribute {
    /// Attributes of a message with this command: the reply to GET_INFO has numbers of its own.
    pub(crate) fn parse(command: u8, buffer: &NlaBuffer<&[u8]>) -> Result<Self, DecodeError> {
        let u32 = fixed(buffer).map(u32::from_ne_bytes);
        let known = if command == IPVS_CMD_SET_INFO {
            match buffer.kind() {
                IPVS_INFO_ATTR_VERSION => u32.map(Self::Version),
                IPVS_INFO_ATTR_CONN_TAB_SIZE => u32.map(Self::ConnectionTableSize),
                _ => None,
            }
        } else {
            match buffer.kind() {
                IPVS_CMD_ATTR_SERVICE => nest(buffer).map(Self::Service),
                IPVS_CMD_ATTR_DEST => nest(buffer).map(Self::Destination),
                IPVS_CMD_ATTR_TIMEOUT_TCP => u32.map(Self::TimeoutTcp),
                IPVS_CMD_ATTR_TIMEOUT_TCP_FIN => u32.map(Self::TimeoutTcpFin),
                IPVS_CMD_ATTR_TIMEOUT_UDP => u32.map(Self::TimeoutUdp),
                _ => None,
            }
        };
        known.map_or_else(|| DefaultNla::parse(buffer).map(Self::Other), Ok)
    }
}

/// Attributes of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceAttribute {
    /// `IPVS_SVC_ATTR_AF`, host order.
    Family(u16),
    /// `IPVS_SVC_ATTR_PROTOCOL`, host order.
    Protocol(u16),
    /// `IPVS_SVC_ATTR_ADDR`: 16 bytes, an IPv4 address in the first four.
    Address([u8; 16]),
    /// `IPVS_SVC_ATTR_PORT`, network order on the wire.
    Port(u16),
    /// `IPVS_SVC_ATTR_FWMARK`, host order.
    FirewallMark(u32),
    /// `IPVS_SVC_ATTR_SCHED_NAME`.
    SchedulerName(String),
    /// `IPVS_SVC_ATTR_FLAGS`, `struct ip_vs_flags`, host order.
    Flags {
        /// The bits.
        flags: u32,
        /// Which of them count; SET_SERVICE keeps the others.
        mask: u32,
    },
    /// `IPVS_SVC_ATTR_TIMEOUT`, seconds.
    Timeout(u32),
    /// `IPVS_SVC_ATTR_NETMASK`: four bytes as they travel, an IPv4 mask in network order or an IPv6 prefix length in host order.
    Netmask([u8; 4]),
    /// `IPVS_SVC_ATTR_PE_NAME`.
    PersistenceEngineName(String),
    /// `IPVS_SVC_ATTR_STATS64`, nested.
    Stats64(Vec<CounterAttribute>),
    /// Anything else, unchanged; `IPVS_SVC_ATTR_STATS` too, which STATS64 replaces.
    Other(DefaultNla),
}

impl Parts for ServiceAttribute {
    fn parts(&self) -> (u16, Value<'_>) {
        match self {
            Self::Family(family) => (IPVS_SVC_ATTR_AF, Value::host16(*family)),
            Self::Protocol(protocol) => (IPVS_SVC_ATTR_PROTOCOL, Value::host16(*protocol)),
            Self::Address(address) => (IPVS_SVC_ATTR_ADDR, Value::bytes(*address)),
            Self::Port(port) => (IPVS_SVC_ATTR_PORT, Value::bytes(port.to_be_bytes())),
            Self::FirewallMark(mark) => (IPVS_SVC_ATTR_FWMARK, Value::host(*mark)),
            Self::SchedulerName(name) => (IPVS_SVC_ATTR_SCHED_NAME, Value::text(name)),
            Self::Flags { flags, mask } => (IPVS_SVC_ATTR_FLAGS, Value::flags(*flags, *mask)),
            Self::Timeout(seconds) => (IPVS_SVC_ATTR_TIMEOUT, Value::host(*seconds)),
            Self::Netmask(bytes) => (IPVS_SVC_ATTR_NETMASK, Value::bytes(*bytes)),
            Self::PersistenceEngineName(name) => (IPVS_SVC_ATTR_PE_NAME, Value::text(name)),
            Self::Stats64(counters) => (IPVS_SVC_ATTR_STATS64 | NLA_F_NESTED, Value::Counters(counters)),
            Self::Other(other) => (other.kind(), Value::Other(other)),
        }
    }
}

impl ServiceAttribute {
    fn known(buffer: &NlaBuffer<&[u8]>) -> Option<Self> {
        match buffer.kind() {
            IPVS_SVC_ATTR_AF => fixed(buffer).map(u16::from_ne_bytes).map(Self::Family),
            IPVS_SVC_ATTR_PROTOCOL => fixed(buffer).map(u16::from_ne_bytes).map(Self::Protocol),
            IPVS_SVC_ATTR_ADDR => fixed(buffer).map(Self::Address),
            IPVS_SVC_ATTR_PORT => fixed(buffer).map(u16::from_be_bytes).map(Self::Port),
            IPVS_SVC_ATTR_FWMARK => fixed(buffer).map(u32::from_ne_bytes).map(Self::FirewallMark),
            IPVS_SVC_ATTR_SCHED_NAME => text(buffer).map(Self::SchedulerName),
            IPVS_SVC_ATTR_FLAGS => fixed(buffer).map(|[a, b, c, d, e, f, g, h]| Self::Flags {
                flags: u32::from_ne_bytes([a, b, c, d]),
                mask: u32::from_ne_bytes([e, f, g, h]),
            }),
            IPVS_SVC_ATTR_TIMEOUT => fixed(buffer).map(u32::from_ne_bytes).map(Self::Timeout),
            IPVS_SVC_ATTR_NETMASK => fixed(buffer).map(Self::Netmask),
            IPVS_SVC_ATTR_PE_NAME => text(buffer).map(Self::PersistenceEngineName),
            IPVS_SVC_ATTR_STATS64 => nest(buffer).map(Self::Stats64),
            _ => None,
        }
    }
}

/// Attributes of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DestinationAttribute {
    /// `IPVS_DEST_ATTR_ADDR`: 16 bytes, an IPv4 address in the first four.
    Address([u8; 16]),
    /// `IPVS_DEST_ATTR_PORT`, network order on the wire.
    Port(u16),
    /// `IPVS_DEST_ATTR_FWD_METHOD`.
    ForwardingMethod(u32),
    /// `IPVS_DEST_ATTR_WEIGHT`, the bits of an `int`.
    Weight(u32),
    /// `IPVS_DEST_ATTR_U_THRESH`.
    UpperThreshold(u32),
    /// `IPVS_DEST_ATTR_L_THRESH`.
    LowerThreshold(u32),
    /// `IPVS_DEST_ATTR_ACTIVE_CONNS`.
    ActiveConnections(u32),
    /// `IPVS_DEST_ATTR_INACT_CONNS`.
    InactiveConnections(u32),
    /// `IPVS_DEST_ATTR_PERSIST_CONNS`.
    PersistentConnections(u32),
    /// `IPVS_DEST_ATTR_ADDR_FAMILY`, host order. Without it the kernel takes the service's family.
    Family(u16),
    /// `IPVS_DEST_ATTR_STATS64`, nested.
    Stats64(Vec<CounterAttribute>),
    /// `IPVS_DEST_ATTR_TUN_TYPE`.
    TunnelType(u8),
    /// `IPVS_DEST_ATTR_TUN_PORT`, network order on the wire.
    TunnelPort(u16),
    /// `IPVS_DEST_ATTR_TUN_FLAGS`, host order.
    TunnelFlags(u16),
    /// Anything else, unchanged; `IPVS_DEST_ATTR_STATS` too, which STATS64 replaces.
    Other(DefaultNla),
}

impl Parts for DestinationAttribute {
    fn parts(&self) -> (u16, Value<'_>) {
        match self {
            Self::Address(address) => (IPVS_DEST_ATTR_ADDR, Value::bytes(*address)),
            Self::Port(port) => (IPVS_DEST_ATTR_PORT, Value::bytes(port.to_be_bytes())),
            Self::ForwardingMethod(method) => (IPVS_DEST_ATTR_FWD_METHOD, Value::host(*method)),
            Self::Weight(weight) => (IPVS_DEST_ATTR_WEIGHT, Value::host(*weight)),
            Self::UpperThreshold(upper) => (IPVS_DEST_ATTR_U_THRESH, Value::host(*upper)),
            Self::LowerThreshold(lower) => (IPVS_DEST_ATTR_L_THRESH, Value::host(*lower)),
            Self::ActiveConnections(count) => (IPVS_DEST_ATTR_ACTIVE_CONNS, Value::host(*count)),
            Self::InactiveConnections(count) => (IPVS_DEST_ATTR_INACT_CONNS, Value::host(*count)),
            Self::PersistentConnections(count) => (IPVS_DEST_ATTR_PERSIST_CONNS, Value::host(*count)),
            Self::Family(family) => (IPVS_DEST_ATTR_ADDR_FAMILY, Value::host16(*family)),
            Self::Stats64(counters) => (IPVS_DEST_ATTR_STATS64 | NLA_F_NESTED, Value::Counters(counters)),
            Self::TunnelType(kind) => (IPVS_DEST_ATTR_TUN_TYPE, Value::bytes([*kind])),
            Self::TunnelPort(port) => (IPVS_DEST_ATTR_TUN_PORT, Value::bytes(port.to_be_bytes())),
            Self::TunnelFlags(flags) => (IPVS_DEST_ATTR_TUN_FLAGS, Value::host16(*flags)),
            Self::Other(other) => (other.kind(), Value::Other(other)),
        }
    }
}

impl DestinationAttribute {
    fn known(buffer: &NlaBuffer<&[u8]>) -> Option<Self> {
        let u32 = fixed(buffer).map(u32::from_ne_bytes);
        match buffer.kind() {
            IPVS_DEST_ATTR_ADDR => fixed(buffer).map(Self::Address),
            IPVS_DEST_ATTR_PORT => fixed(buffer).map(u16::from_be_bytes).map(Self::Port),
            IPVS_DEST_ATTR_FWD_METHOD => u32.map(Self::ForwardingMethod),
            IPVS_DEST_ATTR_WEIGHT => u32.map(Self::Weight),
            IPVS_DEST_ATTR_U_THRESH => u32.map(Self::UpperThreshold),
            IPVS_DEST_ATTR_L_THRESH => u32.map(Self::LowerThreshold),
            IPVS_DEST_ATTR_ACTIVE_CONNS => u32.map(Self::ActiveConnections),
            IPVS_DEST_ATTR_INACT_CONNS => u32.map(Self::InactiveConnections),
            IPVS_DEST_ATTR_PERSIST_CONNS => u32.map(Self::PersistentConnections),
            IPVS_DEST_ATTR_ADDR_FAMILY => fixed(buffer).map(u16::from_ne_bytes).map(Self::Family),
            IPVS_DEST_ATTR_STATS64 => nest(buffer).map(Self::Stats64),
            IPVS_DEST_ATTR_TUN_TYPE => fixed(buffer).map(|[kind]| Self::TunnelType(kind)),
            IPVS_DEST_ATTR_TUN_PORT => fixed(buffer).map(u16::from_be_bytes).map(Self::TunnelPort),
            IPVS_DEST_ATTR_TUN_FLAGS => fixed(buffer).map(u16::from_ne_bytes).map(Self::TunnelFlags),
            _ => None,
        }
    }
}

/// Counters of a service or a destination, inside a STATS64 attribute, each 64 bits in host order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CounterAttribute {
    /// `IPVS_STATS_ATTR_CONNS`.
    Connections(u64),
    /// `IPVS_STATS_ATTR_INPKTS`.
    InPackets(u64),
    /// `IPVS_STATS_ATTR_OUTPKTS`.
    OutPackets(u64),
    /// `IPVS_STATS_ATTR_INBYTES`.
    InBytes(u64),
    /// `IPVS_STATS_ATTR_OUTBYTES`.
    OutBytes(u64),
    /// Anything else, unchanged: rates and padding.
    Other(DefaultNla),
}

impl Parts for CounterAttribute {
    fn parts(&self) -> (u16, Value<'_>) {
        match self {
            Self::Connections(count) => (IPVS_STATS_ATTR_CONNS, Value::host64(*count)),
            Self::InPackets(count) => (IPVS_STATS_ATTR_INPKTS, Value::host64(*count)),
            Self::OutPackets(count) => (IPVS_STATS_ATTR_OUTPKTS, Value::host64(*count)),
            Self::InBytes(count) => (IPVS_STATS_ATTR_INBYTES, Value::host64(*count)),
            Self::OutBytes(count) => (IPVS_STATS_ATTR_OUTBYTES, Value::host64(*count)),
            Self::Other(other) => (other.kind(), Value::Other(other)),
        }
    }
}

impl CounterAttribute {
    fn known(buffer: &NlaBuffer<&[u8]>) -> Option<Self> {
        let count = fixed(buffer).map(u64::from_ne_bytes);
        match buffer.kind() {
            IPVS_STATS_ATTR_CONNS => count.map(Self::Connections),
            IPVS_STATS_ATTR_INPKTS => count.map(Self::InPackets),
            IPVS_STATS_ATTR_OUTPKTS => count.map(Self::OutPackets),
            IPVS_STATS_ATTR_INBYTES => count.map(Self::InBytes),
            IPVS_STATS_ATTR_OUTBYTES => count.map(Self::OutBytes),
            _ => None,
        }
    }
}

decode_known!(ServiceAttribute, DestinationAttribute, CounterAttribute);
