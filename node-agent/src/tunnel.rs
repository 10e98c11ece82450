//! What unwraps tunnel packets on the host of real servers by TUN: tunnel devices, and UDP ports of GUE.
//!
//! | packets | VIP | device, in the words of ip-link(8) |
//! |---|---|---|
//! | IPIP or GUE over IPv4 | IPv4 | `ipip` |
//! | IPIP or GUE over IPv4 | IPv6 | `sit` |
//! | IPIP or GUE over IPv6 | either | `ip6tnl mode any` |
//! | GRE over IPv4, over IPv6 | either | `gre`, `ip6gre` |
//!
//! A GUE port takes the UDP and GUE headers off, and what is inside is IPIP to the same address: the device is the same.
//! The VIP is *on* the device, whose `rp_filter` is 2: without an address on it, the kernel drops what comes out of it also
//! in loose mode, and with the VIP there it passes whatever `all.rp_filter` is, which stays untouched (F21, measured).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::TunnelType;
use ipvs::Family;
use serde::{Deserialize, Serialize};

mod difference;
mod overhead;
mod way;

pub use difference::{Change, Difference, Recorded, difference};
pub use overhead::{maximum_segment_size, overhead};
pub use way::{Obstacle, Way, outer_address, way};

/// `IFLA_IFALIAS` of every device of ours: how we know our own, also without a ledger.
pub const ALIAS: &str = "lvs-operator";

/// What the device drivers are called, and what they unwrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TunnelKind {
    /// IPv4 in IPv4, protocol 4.
    Ipip,
    /// IPv6 in IPv4, protocol 41.
    Sit,
    /// IPv4 and IPv6 in IPv6, protocols 4 and 41.
    Ip6tnl,
    /// Either in IPv4 with a GRE header, protocol 47.
    Gre,
    /// Either in IPv6 with a GRE header.
    Ip6gre,
}

/// Every kind.
pub const KINDS: [TunnelKind; 5] = [
    TunnelKind::Ipip,
    TunnelKind::Sit,
    TunnelKind::Ip6tnl,
    TunnelKind::Gre,
    TunnelKind::Ip6gre,
];

impl TunnelKind {
    /// The device that unwraps packets of a type, by the families of their outer and inner header.
    pub fn unwrapping(type_: TunnelType, outer: Family, inner: Family) -> Self {
        match (type_, outer, inner) {
            (TunnelType::Ipip | TunnelType::Gue, Family::Ipv4, Family::Ipv4) => Self::Ipip,
            (TunnelType::Ipip | TunnelType::Gue, Family::Ipv4, Family::Ipv6) => Self::Sit,
            (TunnelType::Ipip | TunnelType::Gue, Family::Ipv6, Family::Ipv4 | Family::Ipv6) => Self::Ip6tnl,
            (TunnelType::Gre, Family::Ipv4, Family::Ipv4 | Family::Ipv6) => Self::Gre,
            (TunnelType::Gre, Family::Ipv6, Family::Ipv4 | Family::Ipv6) => Self::Ip6gre,
        }
    }

    /// As in `ip link add … type`, and in `IFLA_INFO_KIND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6tnl => "ip6tnl",
            Self::Gre => "gre",
            Self::Ip6gre => "ip6gre",
        }
    }

    /// The kernel module that has it. Loading one adds its fallback device (`tunl0`, `gre0`, …) to every network
    /// namespace, down and without address: that one takes nothing.
    pub fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6tnl => "ip6_tunnel",
            Self::Gre => "ip_gre",
            Self::Ip6gre => "ip6_gre",
        }
    }

    /// The family of the outer header.
    pub fn outer(self) -> Family {
        match self {
            Self::Ipip | Self::Sit | Self::Gre => Family::Ipv4,
            Self::Ip6tnl | Self::Ip6gre => Family::Ipv6,
        }
    }

    /// The IP protocols of the packets that it takes (RFC 2003, 4213, 2473, 2784).
    pub fn outer_protocols(self) -> &'static [u8] {
        match self {
            Self::Ipip => &[4],
            Self::Sit => &[41],
            Self::Ip6tnl => &[4, 41],
            Self::Gre | Self::Ip6gre => &[47],
        }
    }

    /// Its part of a device's name, which has room for four letters.
    fn short(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6tnl => "ip6",
            Self::Gre => "gre",
            Self::Ip6gre => "gre6",
        }
    }
}

/// A tunnel device, as far as it decides what is unwrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its driver.
    pub kind: TunnelKind,
    /// The outer destination that it takes; `None` = any, which ours never have.
    pub local: Option<IpAddr>,
    /// The outer source that it takes; `None` = any.
    pub remote: Option<IpAddr>,
    /// GRE: what it takes has a checksum (`icsum`). The kernel drops what has one and should not, and the reverse.
    pub checksum: bool,
    /// Whether nothing further decides: no key, no sequence numbers, no other mode, no `external`.
    pub plain: bool,
}

impl Tunnel {
    /// A device of ours.
    pub fn new(kind: TunnelKind, local: IpAddr, remote: Option<IpAddr>, checksum: bool) -> Self {
        Self {
            kind,
            local: Some(local),
            remote,
            checksum,
            plain: true,
        }
    }

    /// The name that a device of ours has: the same one always, so that it is found again by it. The kernel allows one
    /// device for each pair of addresses, hence the checksum is no part of it. 15 characters are all there is.
    pub fn name(&self) -> String {
        let Self {
            kind,
            local,
            remote,
            checksum: _,
            plain: _,
        } = self;
        let ends = [*local, *remote].map(|end| end.map_or_else(String::new, |address| address.to_string()));
        format!("lvs-{}-{:06x}", kind.short(), digest(&ends.join(" ")))
    }
}

/// Whether a name is one that [`Tunnel::name`] gives.
pub fn is_name_of_ours(name: &str) -> bool {
    let Some((kind, digest)) = name.strip_prefix("lvs-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    KINDS.iter().any(|known| known.short() == kind) && digest.len() == 6 && digest.bytes().all(is_hexadecimal)
}

/// FNV-1a, folded to 24 bits. Two devices of one host that met in it would be said to disagree, and nothing worse.
fn digest(text: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = text.bytes().fold(0x811c_9dc5, step);
    (hash >> 24) ^ (hash & 0x00ff_ffff)
}

/// As in `ip link add NAME type …`.
impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            local,
            remote,
            checksum,
            plain: _,
        } = self;
        write!(f, "{}", kind.as_str())?;
        if *kind == TunnelKind::Ip6tnl {
            write!(f, " mode any")?;
        }
        for (word, end) in [("local", local), ("remote", remote)] {
            match end {
                Some(address) => write!(f, " {word} {address}")?,
                None => write!(f, " {word} any")?,
            }
        }
        if *checksum {
            write!(f, " icsum")?;
        }
        Ok(())
    }
}

/// A tunnel device, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadTunnel {
    /// What it takes.
    pub tunnel: Tunnel,
    /// Administratively up.
    pub up: bool,
    /// It carries our [`ALIAS`].
    pub marked: bool,
}

/// A UDP port that packets are unwrapped on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuePort {
    /// Family of the outer header.
    pub family: Family,
    /// The port.
    pub port: u16,
}

impl GuePort {
    /// The kernel module that unwraps UDP.
    pub const MODULE: &str = "fou";
}

/// As in `ip fou add …`, without `gue`.
impl fmt::Display for GuePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, port } = self;
        match family {
            Family::Ipv4 => write!(f, "port {port}"),
            Family::Ipv6 => write!(f, "port {port} -6"),
        }
    }
}

/// What is unwrapped on a UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// GUE, from and to anywhere.
    Gue,
    /// Something else, or GUE for one address or interface only.
    Other,
}

/// An address as the kernel has it in a tunnel's attributes: unspecified is any.
pub fn end(address: IpAddr) -> Option<IpAddr> {
    let any = match address {
        IpAddr::V4(address) => address == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => address == Ipv6Addr::UNSPECIFIED,
    };
    (!any).then_some(address)
}

#[cfg(test)]
mod tests;
