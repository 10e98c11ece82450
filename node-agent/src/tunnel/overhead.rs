//! What a tunnel takes from the path's MTU, and the segment size that is left (F22).
//!
//! Clients learn it from the SYN-ACK, which the real server sends: only there a clamp has an effect. The director sees but
//! the client's SYN, and what a lost "fragmentation needed" breaks is client to server (measured).

use crds::{TunnelChecksum, TunnelType};
use ipvs::Family;

// Lengths of headers, without options.
const IPV4: u16 = 20;
const IPV6: u16 = 40;
const TCP: u16 = 20;
const UDP: u16 = 8;
/// `struct guehdr`.
const GUE: u16 = 4;
/// GUE's private flags and the remote checksum's two offsets (`GUE_LEN_PRIV`, `GUE_PLEN_REMCSUM`).
const GUE_REMOTE_CHECKSUM: u16 = 4 + 4;
const GRE: u16 = 4;
/// GRE's checksum and the reserved bytes behind it.
const GRE_CHECKSUM: u16 = 4;

/// Bytes that wrapping adds to a packet, the outer header included: what IPVS subtracts from the MTU
/// (`__ip_vs_get_out_rt()` in net/netfilter/ipvs/ip_vs_xmit.c).
pub fn overhead(type_: TunnelType, checksum: TunnelChecksum, outer: Family) -> u16 {
    let header = header(outer);
    match (type_, checksum) {
        (TunnelType::Ipip, TunnelChecksum::None | TunnelChecksum::Checksum | TunnelChecksum::RemoteChecksum) => header,
        // The checksum of the UDP header has its place there in any case.
        (TunnelType::Gue, TunnelChecksum::None | TunnelChecksum::Checksum) => header + UDP + GUE,
        (TunnelType::Gue, TunnelChecksum::RemoteChecksum) => header + UDP + GUE + GUE_REMOTE_CHECKSUM,
        (TunnelType::Gre, TunnelChecksum::None | TunnelChecksum::RemoteChecksum) => header + GRE,
        (TunnelType::Gre, TunnelChecksum::Checksum) => header + GRE + GRE_CHECKSUM,
    }
}

/// The TCP segment size that fits through a tunnel over a path of this MTU. Never below what every path carries.
pub fn maximum_segment_size(mtu: u32, overhead: u16, inner: Family) -> u16 {
    /// RFC 879: 576 bytes of IPv4 carry it.
    const LEAST: u16 = 536;
    let path = u16::try_from(mtu).unwrap_or(u16::MAX);
    path.saturating_sub(overhead + header(inner) + TCP).max(LEAST)
}

fn header(family: Family) -> u16 {
    match family {
        Family::Ipv4 => IPV4,
        Family::Ipv6 => IPV6,
    }
}
