//! ARP and neighbour discovery, sent and listened to by hand: telling a link who answers for a VIP now, and asking whether
//! anybody does.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::KernelError;
use super::address::Link;

mod neighbour;

/// As many as keepalived sends at once: one frame may be lost, and a switch learns from the first.
const ANNOUNCEMENTS: usize = 5;

/// RFC 5227: PROBE_NUM. Its PROBE_MIN of a second is for strangers on slow links; a VIP waits for this answer.
const PROBES: usize = 3;
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

const ETH_P_ARP: u16 = 0x0806;
const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERNET_HEADER: usize = 14;
/// Ethernet, IPv4, and the lengths of their addresses: what begins each ARP packet that we send or believe.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;

/// Gratuitous ARP for an address that this host has: a request with the address as sender and target, as keepalived
/// sends it. Requests and replies both move a neighbour's entry (measured). For IPv6, unsolicited neighbour advertisements:
/// the kernel sends none for an address without duplicate address detection.
pub(super) fn announce(link: &Link, address: IpAddr) -> Result<(), KernelError> {
    let mac = mac(link)?;
    let frame = match address {
        IpAddr::V4(address) => arp_request(mac, address, BROADCAST, address),
        IpAddr::V6(address) => neighbour::advertisement(mac, address),
    };
    let socket = open(link, protocol_of(address)).map_err(failed)?;
    for _ in 0..ANNOUNCEMENTS {
        socket.send(&frame).map_err(failed)?;
    }
    Ok(())
}

/// Whether anybody else on the link has the address: RFC 5227 probes, whose sender address 0.0.0.0 changes nobody's
/// neighbour table, or the solicitation of duplicate address detection. A link that speaks neither has nobody who could
/// answer.
#[expect(clippy::disallowed_methods, reason = "this is the shell: it waits for the link")]
pub(super) fn answered(link: &Link, address: IpAddr) -> Result<bool, KernelError> {
    if !link.interface().arp {
        return Ok(false);
    }
    let mac = mac(link)?;
    let probe = match address {
        IpAddr::V4(address) => arp_request(mac, Ipv4Addr::UNSPECIFIED, [0; 6], address),
        IpAddr::V6(address) => neighbour::solicitation(mac, address),
    };
    let is_answer = |frame: &[u8]| match address {
        IpAddr::V4(address) => speaks_for(frame, mac, address),
        IpAddr::V6(address) => neighbour::speaks_for(frame, mac, address),
    };
    let mut socket = open(link, protocol_of(address)).map_err(failed)?;
    for _ in 0..PROBES {
        socket.send(&probe).map_err(failed)?;
        let deadline = Instant::now() + PROBE_INTERVAL;
        while let Some(left) = deadline
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left)).map_err(failed)?;
            if receive(&mut socket)
                .map_err(failed)?
                .is_some_and(|frame| is_answer(&frame))
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn receive(socket: &mut Socket) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; 128];
    match io::Read::read(socket, &mut frame) {
        Ok(length) => {
            frame.truncate(length);
            Ok(Some(frame))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Whether the frame is ARP, request or reply, whose sender is the address, and not our own.
fn speaks_for(frame: &[u8], mac: [u8; 6], address: Ipv4Addr) -> bool {
    let Some(arp) = frame.get(ETHERNET_HEADER..) else {
        return false;
    };
    let is = |place: std::ops::Range<usize>, bytes: &[u8]| arp.get(place) == Some(bytes);
    is(0..6, &ARP_HEAD) && is(14..18, &address.octets()) && !is(8..14, &mac)
}

fn arp_request(mac: [u8; 6], sender: Ipv4Addr, target_mac: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    let parts: [&[u8]; 9] = [
        &BROADCAST,
        &mac,
        &ETH_P_ARP.to_be_bytes(),
        &ARP_HEAD,
        &REQUEST.to_be_bytes(),
        &mac,
        &sender.octets(),
        &target_mac,
        &target.octets(),
    ];
    parts.concat()
}

fn protocol_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => ETH_P_ARP,
        IpAddr::V6(_) => neighbour::ETH_P_IPV6,
    }
}

/// A packet socket that hears and speaks one protocol on one interface.
fn open(link: &Link, protocol: u16) -> io::Result<Socket> {
    let number = Protocol::from(i32::from(protocol.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(number))?;
    socket.bind(&link_address(link.index, protocol)?)?;
    Ok(socket)
}

fn link_address(index: u32, protocol: u16) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    #[expect(unsafe_code, reason = "socket2 has no constructor for sockaddr_ll")]
    // SAFETY: sockaddr_ll is plain integers and fits the zeroed storage, for which all zeros is a valid value.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "socket2 has no constructor for sockaddr_ll")]
    // SAFETY: the first `length` bytes of the storage are the sockaddr_ll just written.
    Ok(unsafe { SockAddr::new(storage, length) })
}

fn mac(link: &Link) -> Result<[u8; 6], KernelError> {
    link.mac
        .ok_or_else(|| KernelError::Io(format!("{} has no Ethernet address", link.name)))
}

fn failed(error: io::Error) -> KernelError {
    KernelError::Io(format!("packet socket: {error}"))
}

#[cfg(test)]
mod tests;
