//! What a tunnel device takes, from `IFLA_INFO_DATA`.

use std::net::IpAddr;

use super::attributes;
use crate::kernel::KernelError;
use crate::tunnel::{KINDS, Tunnel, TunnelKind, end};

// include/uapi/linux/if_tunnel.h.
const IFLA_IPTUN_LOCAL: u16 = 2;
const IFLA_IPTUN_REMOTE: u16 = 3;
const IFLA_IPTUN_PROTO: u16 = 9;
const IFLA_IPTUN_COLLECT_METADATA: u16 = 19;
const IFLA_GRE_IFLAGS: u16 = 2;
const IFLA_GRE_LOCAL: u16 = 6;
const IFLA_GRE_REMOTE: u16 = 7;
const IFLA_GRE_COLLECT_METADATA: u16 = 18;

/// `GRE_CSUM`.
const CHECKSUM: u16 = 0x8000;

/// `None` for a device of another kind. Its data may come before its kind, so both are looked for here.
pub(super) fn read_tunnel(kind: &str, data: &[u8]) -> Result<Option<Tunnel>, KernelError> {
    let Some(kind) = KINDS.into_iter().find(|known| known.as_str() == kind) else {
        return Ok(None);
    };
    let mut tunnel = Tunnel {
        kind,
        local: None,
        remote: None,
        checksum: false,
        plain: true,
    };
    for (number, value) in attributes(data, 0)? {
        match kind {
            TunnelKind::Ipip | TunnelKind::Sit | TunnelKind::Ip6tnl => ip_tunnel(&mut tunnel, number, value),
            TunnelKind::Gre | TunnelKind::Ip6gre => gre(&mut tunnel, number, value),
        }
    }
    Ok(Some(tunnel))
}

fn ip_tunnel(tunnel: &mut Tunnel, number: u16, value: &[u8]) {
    match number {
        IFLA_IPTUN_LOCAL => tunnel.local = address(value),
        IFLA_IPTUN_REMOTE => tunnel.remote = address(value),
        IFLA_IPTUN_PROTO => tunnel.plain &= value.first() == Some(&protocol(tunnel.kind)),
        IFLA_IPTUN_COLLECT_METADATA => tunnel.plain = false,
        _ => {}
    }
}

fn gre(tunnel: &mut Tunnel, number: u16, value: &[u8]) {
    match number {
        IFLA_GRE_IFLAGS => {
            let flags = value.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            tunnel.checksum = flags & CHECKSUM != 0;
            // A key, or sequence numbers.
            tunnel.plain &= flags & !CHECKSUM == 0;
        }
        IFLA_GRE_LOCAL => tunnel.local = address(value),
        IFLA_GRE_REMOTE => tunnel.remote = address(value),
        IFLA_GRE_COLLECT_METADATA => tunnel.plain = false,
        _ => {}
    }
}

/// The inner protocol that ours have: `ipip`, `ip6ip`, and any.
fn protocol(kind: TunnelKind) -> u8 {
    let number = match kind {
        TunnelKind::Ipip => libc::IPPROTO_IPIP,
        TunnelKind::Sit => libc::IPPROTO_IPV6,
        TunnelKind::Ip6tnl | TunnelKind::Gre | TunnelKind::Ip6gre => 0,
    };
    u8::try_from(number).unwrap_or_default()
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let ipv4 = || <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    let ipv6 = || <[u8; 16]>::try_from(value).ok().map(IpAddr::from);
    ipv4().or_else(ipv6).and_then(end)
}
