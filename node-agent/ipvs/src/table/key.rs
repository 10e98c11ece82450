//! Constructors, numbers and texts of the table's types.

use super::*;

use std::fmt;
use std::str::FromStr;

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl Protocol {
    /// From an IP protocol number.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }

    /// The IP protocol number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Sctp => f.write_str("SCTP"),
            Self::Other(number) => write!(f, "IP{number}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        match text {
            "TCP" => Ok(Self::Tcp),
            "UDP" => Ok(Self::Udp),
            "SCTP" => Ok(Self::Sctp),
            other => other
                .strip_prefix("IP")
                .and_then(|number| number.parse().ok())
                .map(Self::from_number)
                .ok_or_else(|| ParseKeyError(text.to_owned())),
        }
    }
}

/// A text that is no key: neither `TCP 192.0.2.1:80` nor `FWM 7`, nor `192.0.2.1:80` for a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key of an IPVS service or destination")]
pub struct ParseKeyError(String);

impl ServiceKey {
    /// A service on an address and a port.
    #[must_use]
    pub fn address(protocol: Protocol, address: IpAddr, port: u16) -> Self {
        Self::Address {
            protocol,
            address,
            port,
        }
    }

    /// A service on a firewall mark; `None` for mark 0, which the kernel takes for an address service on 0.0.0.0:0.
    #[must_use]
    pub fn firewall_mark(family: Family, mark: u32) -> Option<Self> {
        NonZeroU32::new(mark).map(|mark| Self::FirewallMark { family, mark })
    }

    /// The family of the packets that the service takes.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Address {
                protocol: _,
                address,
                port: _,
            } => Family::of(*address),
            Self::FirewallMark { family, mark: _ } => *family,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address {
                protocol,
                address,
                port,
            } => {
                write!(f, "{protocol} {}", SocketAddr::new(*address, *port))
            }
            Self::FirewallMark {
                family: Family::Ipv4,
                mark,
            } => write!(f, "FWM {mark}"),
            Self::FirewallMark {
                family: Family::Ipv6,
                mark,
            } => write!(f, "FWM {mark} IPv6"),
        }
    }
}

impl FromStr for ServiceKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let error = || ParseKeyError(text.to_owned());
        let (word, rest) = text.split_once(' ').ok_or_else(error)?;
        if word == "FWM" {
            let (mark, family) = match rest.strip_suffix(" IPv6") {
                Some(mark) => (mark, Family::Ipv6),
                None => (rest, Family::Ipv4),
            };
            let mark = mark.parse().map_err(|_| error())?;
            return Ok(Self::FirewallMark { family, mark });
        }
        let protocol = word.parse().map_err(|_| error())?;
        let socket: SocketAddr = rest.parse().map_err(|_| error())?;
        Ok(Self::Address {
            protocol,
            address: socket.ip(),
            port: socket.port(),
        })
    }
}

impl TryFrom<String> for ServiceKey {
    type Error = ParseKeyError;

    fn try_from(text: String) -> Result<Self, ParseKeyError> {
        text.parse()
    }
}

impl From<ServiceKey> for String {
    fn from(key: ServiceKey) -> Self {
        key.to_string()
    }
}

impl DestinationKey {
    /// A destination.
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }

    /// The family of the destination's address.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl FromStr for DestinationKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let socket: SocketAddr = text.parse().map_err(|_| ParseKeyError(text.to_owned()))?;
        Ok(Self::new(socket.ip(), socket.port()))
    }
}

impl TryFrom<String> for DestinationKey {
    type Error = ParseKeyError;

    fn try_from(text: String) -> Result<Self, ParseKeyError> {
        text.parse()
    }
}

impl From<DestinationKey> for String {
    fn from(key: DestinationKey) -> Self {
        key.to_string()
    }
}
