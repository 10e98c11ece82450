//! `udp`: a datagram, and an answer or at least no refusal (keepalived `UDP_CHECK`).

use std::io;
use std::time::Duration;

use socket2::Type;
use tokio::net::UdpSocket;

use super::stream::Progress;
use super::{Failure, Target, socket};

/// How long a refusal is waited for where no reply is: an ICMP error comes within the round trip. Never more than half of
/// the timeout, so that silence passes.
const GRACE: Duration = Duration::from_millis(500);

/// What is sent, and what for. Linux sends one host a single ICMP error a second, after a burst of six (`icmp_ratelimit`): a
/// closed port that is asked more often than that passes now and then, unless a reply is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Udp {
    /// The datagram; empty is a datagram too.
    pub payload: Vec<u8>,
    /// Whether any datagram must come back (`require_reply`). If not, it passes unless an ICMP error comes within half a
    /// second, or half of the timeout.
    pub expect_reply: bool,
}

pub(super) async fn probe(udp: &Udp, target: &Target, timeout: Duration, progress: &Progress) -> Result<(), Failure> {
    let Udp { payload, expect_reply } = udp;
    let socket = ask(target, payload, progress).await?;
    // Longer datagrams are cut off: that one came is all that counts.
    let mut byte = [0; 1];
    let reply = socket.recv(&mut byte);
    let reply = match expect_reply {
        true => reply.await,
        false => match tokio::time::timeout(GRACE.min(timeout / 2), reply).await {
            Ok(reply) => reply,
            Err(_elapsed) => return Ok(()),
        },
    };
    match reply {
        Ok(_) => Ok(()),
        Err(error) => Err(failure(target, &error)),
    }
}

/// Sends a datagram through a connected socket: the kernel takes nothing of anybody else, and reports ICMP errors.
///
/// # Errors
/// What the network said.
pub(super) async fn ask(target: &Target, payload: &[u8], progress: &Progress) -> Result<UdpSocket, Failure> {
    let failed = |error| Failure::of_io(format!("datagram to {target}"), &error);
    let socket = socket::open(target, Type::DGRAM, None)?;
    socket.connect(&target.socket_address().into()).map_err(failed)?;
    let here = socket.local_addr().map_err(failed)?;
    if here.as_socket() == Some(target.socket_address()) {
        // The kernel chose just the asked port as ours: the socket would answer itself.
        return Err(refused(target));
    }
    let socket = UdpSocket::from_std(socket.into()).map_err(failed)?;
    progress.connected();
    match socket.send(payload).await {
        Ok(_) => Ok(socket),
        Err(error) => Err(failure(target, &error)),
    }
}

/// What came instead of a reply.
pub(super) fn failure(target: &Target, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => refused(target),
        Some(_) | None => Failure::of_io(format!("datagram to {target}"), error),
    }
}

fn refused(target: &Target) -> Failure {
    Failure::of_server(format!("datagram to {target}: port unreachable"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{failing, loopback, passing};
    use crate::probe::{Probe, tests::SHORT};

    fn udp(expect_reply: bool) -> Probe {
        Probe::Udp(Udp {
            payload: b"ping".to_vec(),
            expect_reply,
        })
    }

    #[tokio::test]
    async fn an_answer_passes_and_an_empty_one_too() {
        for (address, reply) in [("127.0.0.1:0", &b"pong"[..]), ("[::1]:0", b"")] {
            let server = UdpSocket::bind(address).await.unwrap();
            let target = loopback(server.local_addr().unwrap());
            let answer = async {
                let mut buffer = [0; 16];
                let (length, peer) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], b"ping");
                server.send_to(reply, peer).await.unwrap();
            };
            let question = udp(true);
            tokio::join!(answer, passing(&question, &target));
        }
    }

    #[tokio::test]
    async fn silence_passes_only_where_no_reply_is_expected() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = loopback(server.local_addr().unwrap());
        passing(&udp(false), &target).await;
        let reason = failing(&udp(true), &target, SHORT).await;
        assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(address).await.unwrap();
            let target = loopback(server.local_addr().unwrap());
            drop(server);
            for expect_reply in [false, true] {
                let reason = failing(&udp(expect_reply), &target, SHORT).await;
                assert_eq!(reason, format!("datagram to {target}: port unreachable"));
            }
        }
    }

    #[tokio::test]
    async fn an_answer_from_another_address_is_none() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        let target = loopback(server.local_addr().unwrap());
        let answer = async {
            let (_, peer) = server.recv_from(&mut [0; 16]).await.unwrap();
            other.send_to(b"pong", peer).await.unwrap();
        };
        let question = udp(true);
        let ((), reason) = tokio::join!(answer, failing(&question, &target, SHORT));
        assert_eq!(reason, format!("no answer of {target} within 300 ms"));
    }
}
