//! The same over IPv6 (RFC 4861): unsolicited neighbour advertisements, and the solicitation of duplicate address detection
//! (RFC 4862), whose unspecified source changes nobody's neighbour cache.

use std::net::Ipv6Addr;

use super::ETHERNET_HEADER;

pub(super) const ETH_P_IPV6: u16 = 0x86dd;

const IPV6_HEADER: usize = 40;
const NEXT_HEADER: usize = 6;
const ICMPV6: u8 = 58;
/// A router would have lowered it: what came with it came from the link.
const HOP_LIMIT: u8 = 255;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// "This replaces what your cache has", and not "I am a router" or "you asked".
const OVERRIDE: u8 = 0x20;
/// Option 2 of one unit of eight bytes: the target's link-layer address.
const TARGET_ADDRESS: [u8; 2] = [2, 1];

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// From the address itself, as keepalived and ndsend(8) do: there may be no other one on the interface.
pub(super) fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let options = [&TARGET_ADDRESS[..], &mac].concat();
    frame(
        mac,
        address,
        ALL_NODES,
        &message(ADVERTISEMENT, OVERRIDE, address, &options),
    )
}

pub(super) fn solicitation(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let solicited_node = Ipv6Addr::from_bits(
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits() | (address.to_bits() & 0x00ff_ffff),
    );
    let message = message(SOLICITATION, 0, address, &[]);
    frame(mac, Ipv6Addr::UNSPECIFIED, solicited_node, &message)
}

/// Whether the frame is somebody else's advertisement of the address.
pub(super) fn speaks_for(frame: &[u8], mac: [u8; 6], address: Ipv6Addr) -> bool {
    let ethernet = |place: std::ops::Range<usize>, bytes: &[u8]| frame.get(place) == Some(bytes);
    let ipv6 = frame.get(ETHERNET_HEADER..).unwrap_or_default();
    let icmp = ipv6.get(IPV6_HEADER..).unwrap_or_default();
    ethernet(12..14, &ETH_P_IPV6.to_be_bytes())
        && !ethernet(6..12, &mac)
        && ipv6.get(NEXT_HEADER..NEXT_HEADER + 2) == Some(&[ICMPV6, HOP_LIMIT])
        && icmp.first() == Some(&ADVERTISEMENT)
        && icmp.get(8..24) == Some(&address.octets())
}

fn message(kind: u8, flags: u8, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    // Type, code, checksum (filled in by `frame`), flags and reserved.
    let head = [kind, 0, 0, 0, flags, 0, 0, 0];
    [&head[..], &target.octets(), options].concat()
}

fn frame(mac: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let checksum = checksum(source, destination, &message);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    // 33:33 and the last four bytes of the group.
    let group = destination.octets();
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let parts: [&[u8]; 10] = [
        &[0x33, 0x33],
        &group[12..],
        &mac,
        &ETH_P_IPV6.to_be_bytes(),
        &[0x60, 0, 0, 0],
        &length.to_be_bytes(),
        &[ICMPV6, HOP_LIMIT],
        &source.octets(),
        &destination.octets(),
        &message,
    ];
    parts.concat()
}

/// RFC 8200, section 8.1: over the pseudo-header and the message, whose own checksum is 0 meanwhile.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo = [
        &source.octets()[..],
        &destination.octets(),
        &length.to_be_bytes(),
        &[0, 0, 0, ICMPV6],
        message,
    ];
    let bytes = pseudo.concat();
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    });
    let sum: u64 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
