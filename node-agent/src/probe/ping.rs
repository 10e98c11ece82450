//! `ping`: an echo (RFC 792; RFC 4443, section 4; keepalived `PING_CHECK`). A raw socket, for unprivileged ones are open to nobody
//! by default (`net.ipv4.ping_group_range`).

mod echo;

use socket2::{Protocol, Type};
use tokio::net::UdpSocket;

use self::echo::{Echo, Family, is_reply, request};
use super::stream::Progress;
use super::{Failure, Target, socket, tls};

/// So many packets of the target that are not the answer end the probe: other probes' answers come to this socket too.
const MOST_STRANGERS: usize = 1024;

/// The longest that is looked at, in bytes: an answer with an IPv4 header of any length.
const LONGEST_PACKET: usize = 256;

pub(super) async fn probe(target: &Target, progress: &Progress) -> Result<(), Failure> {
    let failed = |error| Failure::of_io(format!("ping {target}"), &error);
    let family = if target.address.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut random = [0; echo::RANDOM];
    tls::fill_random(&mut random).map_err(|error| Failure::of_ours(format!("ping {target}: {error}")))?;
    let echo = Echo::new(random);
    let socket = open(target, family)?;
    socket.send(&request(family, &echo)).await.map_err(failed)?;
    progress.connected();
    let mut packet = [0; LONGEST_PACKET];
    for _ in 0..MOST_STRANGERS {
        let length = socket.recv(&mut packet).await.map_err(failed)?;
        if is_reply(family, &packet[..length], &echo) {
            return Ok(());
        }
    }
    Err(Failure::of_server(format!(
        "ping {target}: {MOST_STRANGERS} packets, and none is the answer"
    )))
}

/// Connected, so that the kernel gives this socket nothing but the target's packets and tells what routers say of it. A raw
/// socket in tokio's coat for UDP, whose `send` and `recv` are the same system calls.
fn open(target: &Target, family: Family) -> Result<UdpSocket, Failure> {
    let protocol = match family {
        Family::V4 => Protocol::ICMPV4,
        Family::V6 => Protocol::ICMPV6,
    };
    let socket = socket::open(target, Type::RAW, Some(protocol))?;
    let mut address = target.socket_address();
    address.set_port(0);
    let connected = socket.connect(&address.into());
    let socket = connected.and_then(|()| UdpSocket::from_std(socket.into()));
    socket.map_err(|error| Failure::of_io(format!("ping {target}"), &error))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use crate::probe::tests::{SHORT, failing, passing};
    use crate::probe::{Probe, Target, probe};

    fn target(address: IpAddr) -> Target {
        Target {
            address,
            port: 0,
            source: None,
            mark: None,
            name: None,
        }
    }

    #[tokio::test]
    async fn this_node_answers() {
        for address in [IpAddr::from(Ipv4Addr::new(127, 1, 2, 3)), Ipv6Addr::LOCALHOST.into()] {
            passing(&Probe::Ping, &target(address)).await;
        }
        let from = Target {
            source: Some(Ipv4Addr::new(127, 9, 9, 9).into()),
            ..target(Ipv4Addr::LOCALHOST.into())
        };
        passing(&Probe::Ping, &from).await;
    }

    #[tokio::test]
    async fn pings_of_one_address_at_once_do_not_take_each_others_answers() {
        let target = target(Ipv4Addr::LOCALHOST.into());
        let pings = (0..30).map(|_| passing(&Probe::Ping, &target));
        futures::future::join_all(pings).await;
    }

    #[tokio::test]
    async fn nobody_answers() {
        // Echoes to a group are not answered (`icmp_echo_ignore_broadcasts`), and never from its address.
        let mut target = target(Ipv4Addr::new(224, 0, 0, 1).into());
        target.source = Some(Ipv4Addr::LOCALHOST.into());
        let reason = failing(&Probe::Ping, &target, SHORT).await;
        assert_eq!(reason, "no answer of 224.0.0.1 within 300 ms");
    }

    #[tokio::test]
    async fn a_source_without_a_way_to_the_target_is_not_its_fault() {
        let mut target = target(Ipv4Addr::new(192, 0, 2, 1).into());
        target.source = Some(Ipv4Addr::LOCALHOST.into());
        let failure = probe(&Probe::Ping, &target, SHORT).await.unwrap_err();
        assert_eq!(failure.to_string(), "ping 192.0.2.1: not from this source address");
        assert!(failure.is_ours());
    }
}
