//! Where a client asks: protocol, address and port, as one word.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// A transport protocol that IPVS balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, one stream as TCP has it.
    Sctp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A service as a client knows it; as text `TCP:192.168.56.100:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The protocol.
    pub transport: Transport,
    /// Address and port.
    pub at: SocketAddr,
}

impl Endpoint {
    /// From its parts.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(transport: Transport, address: &str, port: u16) -> Result<Self> {
        let address: IpAddr = address.parse().with_context(|| address.to_owned())?;
        let at = SocketAddr::new(address, port);
        Ok(Self { transport, at })
    }

    /// As `ipvsadm -Ln` names the service: `TCP  192.168.56.100:80` without the second blank.
    #[must_use]
    pub fn in_ipvsadm(&self) -> String {
        format!("{} {}", self.transport.name(), self.at)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.at)
    }
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, at) = text.split_once(':').context("PROTOCOL:ADDRESS:PORT")?;
        let Some(transport) = Transport::ALL.into_iter().find(|one| one.name() == name) else {
            bail!("{name} is none of TCP, UDP and SCTP")
        };
        let at = at.parse().with_context(|| at.to_owned())?;
        Ok(Self { transport, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_word() {
        for text in ["TCP:192.168.56.100:80", "SCTP:[fd56::100]:9"] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
        assert!("ICMP:192.168.56.100:80".parse::<Endpoint>().is_err());
    }
}
