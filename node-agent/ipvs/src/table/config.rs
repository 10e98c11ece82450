//! Constructors, numbers and named bits of the table's configurations.

use super::*;
use crate::uapi;

use std::fmt;
use std::ops::BitOr;

impl Scheduler {
    /// A scheduler by its kernel name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The kernel name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Scheduler {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServiceFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `IP_VS_SVC_F_PERSISTENT`, `ipvsadm -p`.
    pub const PERSISTENT: Self = Self(uapi::IP_VS_SVC_F_PERSISTENT);
    /// `IP_VS_SVC_F_ONEPACKET`, `ipvsadm -o`.
    pub const ONE_PACKET: Self = Self(uapi::IP_VS_SVC_F_ONEPACKET);
    /// `IP_VS_SVC_F_SCHED1`: what it means is the scheduler's affair. Printed `flag-1`.
    pub const SCHEDULER_1: Self = Self(uapi::IP_VS_SVC_F_SCHED1);
    /// `IP_VS_SVC_F_SCHED2`. Printed `flag-2`.
    pub const SCHEDULER_2: Self = Self(uapi::IP_VS_SVC_F_SCHED2);
    /// `IP_VS_SVC_F_SCHED3`. Printed `flag-3`.
    pub const SCHEDULER_3: Self = Self(uapi::IP_VS_SVC_F_SCHED3);
    /// `sh-fallback`, `IP_VS_SVC_F_SCHED_SH_FALLBACK`: choose another destination instead of refusing the client.
    pub const SH_FALLBACK: Self = Self::SCHEDULER_1;
    /// `sh-port`, `IP_VS_SVC_F_SCHED_SH_PORT`: hash the client's port as well.
    pub const SH_PORT: Self = Self::SCHEDULER_2;
    /// `mh-fallback`; the same bit as `sh-fallback`.
    pub const MH_FALLBACK: Self = Self::SCHEDULER_1;
    /// `mh-port`; the same bit as `sh-port`.
    pub const MH_PORT: Self = Self::SCHEDULER_2;

    /// From the kernel's bits; `IP_VS_SVC_F_HASHED` is dropped, all others survive.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & !uapi::IP_VS_SVC_F_HASHED)
    }

    /// The kernel's bits, without `IP_VS_SVC_F_HASHED`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for ServiceFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<u32> for ServiceFlags {
    fn from(bits: u32) -> Self {
        Self::from_bits(bits)
    }
}

impl From<ServiceFlags> for u32 {
    fn from(flags: ServiceFlags) -> Self {
        flags.bits()
    }
}

impl Netmask {
    /// The mask of a service without granularity: 255.255.255.255 or 128, which must be sent also without persistence.
    #[must_use]
    pub fn full(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Mask(Ipv4Addr::BROADCAST),
            Family::Ipv6 => Self::PrefixLength(128),
        }
    }
}

impl ServiceConfig {
    /// A service with a scheduler and nothing else, as `ipvsadm -A … -s NAME` makes it.
    #[must_use]
    pub fn new(scheduler: impl Into<Scheduler>, family: Family) -> Self {
        Self {
            scheduler: scheduler.into(),
            flags: ServiceFlags::NONE,
            timeout_seconds: 0,
            netmask: Netmask::full(family),
            persistence_engine: None,
        }
    }
}

impl Service {
    /// A service without destinations.
    #[must_use]
    pub fn new(config: ServiceConfig) -> Self {
        Self {
            config,
            destinations: BTreeMap::new(),
        }
    }
}

impl ForwardingMethod {
    /// From the kernel's number, of which only `IP_VS_CONN_F_FWD_MASK` counts (0x103 reads back as 3).
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number & uapi::IP_VS_CONN_F_FWD_MASK {
            uapi::IP_VS_CONN_F_MASQ => Self::Masquerade,
            uapi::IP_VS_CONN_F_LOCALNODE => Self::Local,
            uapi::IP_VS_CONN_F_TUNNEL => Self::Tunnel,
            uapi::IP_VS_CONN_F_DROUTE => Self::DirectRouting,
            uapi::IP_VS_CONN_F_BYPASS => Self::Bypass,
            other => Self::Other(other),
        }
    }

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Masquerade => uapi::IP_VS_CONN_F_MASQ,
            Self::Local => uapi::IP_VS_CONN_F_LOCALNODE,
            Self::Tunnel => uapi::IP_VS_CONN_F_TUNNEL,
            Self::DirectRouting => uapi::IP_VS_CONN_F_DROUTE,
            Self::Bypass => uapi::IP_VS_CONN_F_BYPASS,
            Self::Other(number) => number,
        }
    }
}

impl TunnelType {
    /// From the kernel's number.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            uapi::IP_VS_CONN_F_TUNNEL_TYPE_IPIP => Self::Ipip,
            uapi::IP_VS_CONN_F_TUNNEL_TYPE_GUE => Self::Gue,
            uapi::IP_VS_CONN_F_TUNNEL_TYPE_GRE => Self::Gre,
            other => Self::Other(other),
        }
    }

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ipip => uapi::IP_VS_CONN_F_TUNNEL_TYPE_IPIP,
            Self::Gue => uapi::IP_VS_CONN_F_TUNNEL_TYPE_GUE,
            Self::Gre => uapi::IP_VS_CONN_F_TUNNEL_TYPE_GRE,
            Self::Other(number) => number,
        }
    }
}

impl TunnelFlags {
    /// No checksum (`--tun-nocsum`).
    pub const NO_CHECKSUM: Self = Self(uapi::IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM);
    /// A checksum (`--tun-csum`), with GUE and GRE.
    pub const CHECKSUM: Self = Self(uapi::IP_VS_TUNNEL_ENCAP_FLAG_CSUM);
    /// Remote checksum offload (`--tun-remcsum`), with GUE.
    pub const REMOTE_CHECKSUM: Self = Self(uapi::IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM);
}

impl DestinationConfig {
    /// A destination with a method and a weight and nothing else.
    #[must_use]
    pub fn new(method: ForwardingMethod, weight: u32) -> Self {
        Self {
            method,
            weight,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        }
    }
}

impl Timeouts {
    /// These, and the other's where these are 0.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let Self { tcp, tcp_fin, udp } = self;
        let first = |own, other| if own == 0 { other } else { own };
        Self {
            tcp: first(tcp, other.tcp),
            tcp_fin: first(tcp_fin, other.tcp_fin),
            udp: first(udp, other.udp),
        }
    }

    /// Whether the other has each of these that is not 0.
    #[must_use]
    pub fn hold_in(self, other: Self) -> bool {
        self.or(other) == other
    }

    /// Of these, those that the other has in common with a third: 0 elsewhere.
    #[must_use]
    pub fn where_equal(self, other: Self, third: Self) -> Self {
        let Self { tcp, tcp_fin, udp } = self;
        let keep = |own, other, third| if other == third { own } else { 0 };
        Self {
            tcp: keep(tcp, other.tcp, third.tcp),
            tcp_fin: keep(tcp_fin, other.tcp_fin, third.tcp_fin),
            udp: keep(udp, other.udp, third.udp),
        }
    }
}

impl fmt::Display for Timeouts {
    /// As `ipvsadm --set` takes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tcp, tcp_fin, udp } = self;
        write!(f, "{tcp} {tcp_fin} {udp}")
    }
}
