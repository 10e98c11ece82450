//! The ways by which clients' packets reach real servers, for probes that go by them: to the VIP, with a firewall mark for
//! which IPVS has one service with one destination. Marks keep ports, so all VIPs and ports of a family share that service.
//!
//! What is asked names the way alone. Its mark, and the address to ask from, are known when the kernel was read to be ready
//! for it: until then nothing is sent, because the director itself would answer for the VIP.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipvs::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Service, ServiceConfig, ServiceFlags, ServiceKey,
    Tunnel,
};

use super::Asked;
use crate::probe::Target;

/// How packets to the VIPs of a family reach one real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Of the VIPs.
    pub family: Family,
    /// The real server's own address; by TUN it may be of another family.
    pub server: IpAddr,
    /// DR or TUN.
    pub method: ForwardingMethod,
    /// How TUN wraps them.
    pub tunnel: Tunnel,
}

impl Way {
    /// The service that sends what has its mark to this real server, and to no other.
    ///
    /// Of UDP, every packet is scheduled by itself (`ipvsadm -o`; it says nothing of other protocols): IPVS finds a
    /// connection by its ports and not by its mark, and remembers one of UDP for five minutes, in which another real server
    /// may be asked from the same port.
    pub fn service(&self) -> Service {
        let Self {
            family,
            server,
            method,
            tunnel,
        } = *self;
        let mut config = ServiceConfig::new("wlc", family);
        config.flags = ServiceFlags::ONE_PACKET;
        let destination = DestinationConfig {
            tunnel,
            ..DestinationConfig::new(method, 1)
        };
        Service {
            config,
            destinations: BTreeMap::from([(DestinationKey::new(server, 0), destination)]),
        }
    }
}

/// `192.168.56.30 by DR`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            ForwardingMethod::Tunnel => "TUN",
            ForwardingMethod::DirectRouting
            | ForwardingMethod::Masquerade
            | ForwardingMethod::Local
            | ForwardingMethod::Bypass
            | ForwardingMethod::Other(_) => "DR",
        };
        write!(f, "{} by {method}", self.server)
    }
}

/// How a probe gets on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// With this mark, from this address of the node: without it, an active director would ask from the VIP itself.
    Marked {
        /// `SO_MARK`.
        mark: u32,
        /// The node's own address.
        source: IpAddr,
    },
    /// Not at all: it goes to the real server's own address. The real server is this node; or no VIP of the way is the node's as
    /// a director; or it has no address of the VIP's family to ask from, no nftables to guard it, or a firewall of somebody else's that would drop the answer.
    Unsteered,
}

/// The ways that are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// How each is taken. One that is missing is not open yet.
    pub open: BTreeMap<Way, Steering>,
    /// VIPs that this node does not have as a director. Real servers are probed by their own addresses for these: one that has
    /// lost its VIP and forwards would send a probe to the director that has it, which would balance it like a client's, to
    /// another real server or in circles until its TTL ends. And what comes from a VIP that this node has as the host of a
    /// real server would seem to come from here, by a wrong interface.
    pub elsewhere: BTreeSet<IpAddr>,
}

impl Ways {
    /// Those that go with one of these marks.
    pub fn with(&self, marks: &BTreeSet<ServiceKey>) -> BTreeSet<Way> {
        let has_one = |(way, steering): &(&Way, &Steering)| match steering {
            Steering::Marked { mark, source: _ } => {
                ServiceKey::firewall_mark(way.family, *mark).is_some_and(|key| marks.contains(&key))
            }
            Steering::Unsteered => false,
        };
        self.open.iter().filter(has_one).map(|(way, _)| *way).collect()
    }

    /// Whom to ask, and from where; `None` while the way is not open.
    pub fn target(&self, asked: &Asked) -> Option<Target> {
        let Asked { probe: _, target, way } = asked;
        let Some(way) = way else {
            return Some(target.clone());
        };
        match self.open.get(way)? {
            Steering::Marked { mark, source } if !self.elsewhere.contains(&target.address) => Some(Target {
                source: Some(*source),
                mark: Some(*mark),
                ..target.clone()
            }),
            Steering::Marked { mark: _, source: _ } | Steering::Unsteered => Some(Target {
                address: way.server,
                name: Some(target.address),
                ..target.clone()
            }),
        }
    }
}
