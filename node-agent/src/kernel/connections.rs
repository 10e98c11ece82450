//! `/proc/net/ip_vs_conn`: the connections that IPVS has. Not by netlink, which has no word for them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipvs::{DestinationKey, Protocol};

use super::KernelError;

/// One connection. A persistence template is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The transport protocol.
    pub protocol: Protocol,
    /// Whose it is.
    pub client: SocketAddr,
    /// Where the client sends to.
    pub vip: SocketAddr,
    /// Where IPVS sends it.
    pub destination: DestinationKey,
    /// For how long IPVS knows it still, when no packet comes.
    pub expires: Duration,
}

/// Of this thread's network namespace; `/proc/net` is that of the process.
const FILE: &str = "/proc/thread-self/net/ip_vs_conn";

/// All connections. There are none where there is no IPVS.
pub(super) fn connections() -> Result<Vec<Connection>, KernelError> {
    let failed = |error: io::Error| KernelError::File {
        path: FILE.to_owned(),
        reason: error.to_string(),
    };
    let file = match File::open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for line in BufReader::new(file).lines() {
        found.extend(connection(&line.map_err(failed)?));
    }
    Ok(found)
}

/// `TCP C0A83814 9C40 C0A83864 0050 0A00001F 1F90 ESTABLISHED     899`: client, VIP, real server, each with its port. IPv6
/// addresses are written out, with colons. `None` for the head line, and for templates, whose client has no port.
fn connection(line: &str) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace();
    let protocol = match words.next()? {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => return None,
    };
    let mut place = || Some(SocketAddr::new(address(words.next()?)?, port(words.next()?)?));
    let (client, vip, server) = (place()?, place()?, place()?);
    let expires = words.nth(1)?.parse().ok()?;
    (client.port() != 0).then_some(Connection {
        protocol,
        client,
        vip,
        destination: DestinationKey::new(server.ip(), server.port()),
        expires: Duration::from_secs(expires),
    })
}

fn address(word: &str) -> Option<IpAddr> {
    match word.contains(':') {
        true => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        false => u32::from_str_radix(word, 16)
            .ok()
            .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
    }
}

fn port(word: &str) -> Option<u16> {
    u16::from_str_radix(word, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_of_each_line() {
        let words = |connection: Connection| {
            let Connection {
                protocol,
                client,
                vip,
                destination,
                expires,
            } = connection;
            format!("{protocol} {client} {vip} {destination} {expires:?}")
        };
        let cases = [
            (
                "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
                None,
            ),
            (
                "TCP C0A83814 9C40 C0A83864 0050 0A00001F 1F90 ESTABLISHED     899",
                Some("TCP 192.168.56.20:40000 192.168.56.100:80 10.0.0.31:8080 899s"),
            ),
            (
                "UDP fd56:0000:0000:0000:0000:0000:0000:0020 9C40 fd56:0000:0000:0000:0000:0000:0000:0100 0050 fd10:0000:0000:0000:0000:0000:0000:0031 1F90 UDP              10",
                Some("UDP [fd56::20]:40000 [fd56::100]:80 [fd10::31]:8080 10s"),
            ),
            // Templates of persistence: of a port, and of a mark.
            (
                "TCP C0A83814 0000 C0A83864 0050 0A00001F 1F90 NONE            360",
                None,
            ),
            (
                "IP  C0A83814 0000 0000000A 0000 0A00001F 0000 NONE            360",
                None,
            ),
            ("TCP C0A83814 9C40 C0A83864", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(connection(line).map(words).as_deref(), expected, "{line}");
        }
    }
}
