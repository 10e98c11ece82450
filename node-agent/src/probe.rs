//! Probes: one question to one real server, with a deadline, over a connection of its own.
//!
//! What a probe says is *now, from here*; what follows from it (retries, rise, the verdict) is the checker's business. All
//! of a server's bytes are hostile until read: every probe is bounded in time, in bytes and in datagrams, so that the
//! worst real server costs nothing but its own verdict. No redirect is followed, no connection is used twice, nothing is
//! decompressed, and no task holds a socket: dropping the future closes it.
//!
//! What the kernel says of a stopped process: its listener still completes handshakes until the accept queue is full
//! (`listen(2)`), so `tcp` passes that long. A probe that needs an answer (`http`, …) sees it at once.

mod dns;
mod failure;
mod grpc;
mod http;
mod ping;
mod smtp;
mod socket;
mod stream;
mod tls;
mod udp;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use self::dns::Dns;
pub use self::failure::{Failure, Invalid};
pub use self::grpc::Grpc;
pub use self::http::{Digest, Http, Pattern, StatusRange};
pub use self::smtp::Smtp;
use self::stream::Progress;
pub use self::tls::{Authorities, Https, Trust};
pub use self::udp::Udp;

/// What is asked of a real server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// A TCP connection is accepted (keepalived `TCP_CHECK`).
    Tcp,
    /// An HTTP/1.1 request is answered as expected (`HTTP_GET`).
    Http(Http),
    /// The same over TLS (`SSL_GET`).
    Https(Https),
    /// A datagram is taken, or answered (`UDP_CHECK`).
    Udp(Udp),
    /// A name is resolved (`DNS_CHECK`).
    Dns(Dns),
    /// A mail server greets and takes a HELO (`SMTP_CHECK`).
    Smtp(Smtp),
    /// `grpc.health.v1.Health/Check` says SERVING, without TLS.
    Grpc(Grpc),
    /// An ICMP or ICMPv6 echo is answered (`PING_CHECK`). Needs NET_RAW.
    Ping,
    /// Nothing: always healthy.
    None,
}

/// Whom to ask, and from where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The real server's address, or a VIP that a mark steers to it.
    pub address: IpAddr,
    /// The port; 0 for ping.
    pub port: u16,
    /// The address to ask from (keepalived `bindto`); `None` = what the routes say. On an active director of DR or TUN
    /// that would be the VIP, and no answer would ever come back.
    pub source: Option<IpAddr>,
    /// `SO_MARK` of what is sent, which steers a probe of a VIP to one real server. Needs NET_ADMIN.
    pub mark: Option<u32>,
    /// In whose name it is asked where none is given, in a `Host` or a certificate: the VIP, when the real server's own address
    /// is asked in its place; `None` = `address`.
    pub name: Option<IpAddr>,
}

impl Target {
    /// The address and port.
    fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// In whose name it is asked.
    fn name(&self) -> IpAddr {
        self.name.unwrap_or(self.address)
    }
}

/// `192.168.56.30:80`, `[fd00::30]:80`, and without a port the address alone.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => self.address.fmt(f),
            _ => self.socket_address().fmt(f),
        }
    }
}

/// Asks once. `timeout` is for everything: connect, TLS, question and answer.
///
/// # Errors
/// Why the real server does not pass, in words; or why it could not be asked ([`Failure::is_ours`]).
pub async fn probe(probe: &Probe, target: &Target, timeout: Duration) -> Result<(), Failure> {
    let progress = Progress::default();
    match tokio::time::timeout(timeout, ask(probe, target, timeout, &progress)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(progress.late(target, timeout)),
    }
}

async fn ask(probe: &Probe, target: &Target, timeout: Duration, progress: &Progress) -> Result<(), Failure> {
    match probe {
        // Accepted is all that is asked; the socket's linger of 0 ends the connection.
        Probe::Tcp => stream::connect(target, progress).await.map(drop),
        Probe::Http(http) => http::probe(http, target, progress).await,
        Probe::Https(https) => tls::probe(https, target, progress).await,
        Probe::Udp(udp) => udp::probe(udp, target, timeout, progress).await,
        Probe::Dns(dns) => dns::probe(dns, target, progress).await,
        Probe::Smtp(smtp) => smtp::probe(smtp, target, progress).await,
        Probe::Grpc(grpc) => grpc::probe(grpc, target, progress).await,
        Probe::Ping => ping::probe(target, progress).await,
        Probe::None => Ok(()),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod tests;
