//! From what is wanted to what is sent.

use std::net::IpAddr;

use super::{DestinationIdentity, DestinationSettings, Operation, ServiceIdentity, ServiceSettings, TunnelSettings};
use crate::diff::Change;
use crate::table::{DestinationConfig, DestinationKey, Family, Netmask, ServiceConfig, ServiceKey};
use crate::uapi::{AF_INET, AF_INET6};

impl Family {
    /// `AF_INET` or `AF_INET6`.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Ipv4 => AF_INET,
            Self::Ipv6 => AF_INET6,
        }
    }

    /// From `AF_INET` or `AF_INET6`.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            AF_INET => Some(Self::Ipv4),
            AF_INET6 => Some(Self::Ipv6),
            _ => None,
        }
    }

    /// An address out of `union nf_inet_addr`.
    #[must_use]
    pub fn address(self, bytes: [u8; 16]) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            Self::Ipv6 => IpAddr::from(bytes),
        }
    }
}

/// `union nf_inet_addr`: an IPv4 address fills the first four of 16 bytes.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl Netmask {
    /// The four bytes of `IPVS_SVC_ATTR_NETMASK`: a mask in network order, a prefix length in host order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        match self {
            Self::Mask(mask) => mask.octets(),
            Self::PrefixLength(length) => length.to_ne_bytes(),
        }
    }

    /// From the four bytes, which the service's family gives their meaning.
    #[must_use]
    pub fn from_bytes(family: Family, bytes: [u8; 4]) -> Self {
        match family {
            Family::Ipv4 => Self::Mask(bytes.into()),
            Family::Ipv6 => Self::PrefixLength(u32::from_ne_bytes(bytes)),
        }
    }
}

impl From<&ServiceKey> for ServiceIdentity {
    fn from(key: &ServiceKey) -> Self {
        let family = key.family().number();
        match key {
            ServiceKey::Address {
                protocol,
                address,
                port,
            } => Self {
                family,
                mark: None,
                protocol: protocol.number(),
                address: address_bytes(*address),
                port: *port,
            },
            ServiceKey::FirewallMark { family: _, mark } => Self {
                family,
                mark: Some(mark.get()),
                protocol: 0,
                address: [0; 16],
                port: 0,
            },
        }
    }
}

impl From<&ServiceConfig> for ServiceSettings {
    fn from(config: &ServiceConfig) -> Self {
        let ServiceConfig {
            scheduler,
            flags,
            timeout_seconds,
            netmask,
            persistence_engine,
        } = config;
        Self {
            scheduler: scheduler.as_str().to_owned(),
            persistence_engine: persistence_engine.clone(),
            flags: flags.bits(),
            // Every bit, as ipvsadm: SET_SERVICE would keep the bits outside the mask.
            mask: u32::MAX,
            timeout: *timeout_seconds,
            netmask: netmask.to_bytes(),
        }
    }
}

impl From<&DestinationKey> for DestinationIdentity {
    fn from(key: &DestinationKey) -> Self {
        // The family always goes along: without it DEL_DEST of a destination of the other family answers ENOENT.
        Self {
            family: Some(key.family().number()),
            address: address_bytes(key.address),
            port: key.port,
        }
    }
}

impl From<&DestinationConfig> for DestinationSettings {
    fn from(config: &DestinationConfig) -> Self {
        let DestinationConfig {
            method,
            weight,
            upper_threshold,
            lower_threshold,
            tunnel,
        } = config;
        Self {
            method: method.number(),
            weight: Some(*weight),
            upper_threshold: *upper_threshold,
            lower_threshold: *lower_threshold,
            tunnel: Some(TunnelSettings {
                kind: tunnel.kind.number(),
                port: tunnel.port,
                flags: tunnel.flags.0,
            }),
        }
    }
}

impl From<&Change> for Operation {
    fn from(change: &Change) -> Self {
        match change {
            Change::AddService { service, config } => Self::NewService {
                service: service.into(),
                settings: config.into(),
            },
            Change::EditService { service, config } => Self::SetService {
                service: service.into(),
                settings: config.into(),
            },
            Change::DeleteService { service } => Self::DelService {
                service: service.into(),
            },
            Change::AddDestination {
                service,
                destination,
                config,
            } => Self::NewDest {
                service: service.into(),
                destination: destination.into(),
                settings: config.into(),
            },
            Change::EditDestination {
                service,
                destination,
                config,
            } => Self::SetDest {
                service: service.into(),
                destination: destination.into(),
                settings: config.into(),
            },
            Change::DeleteDestination { service, destination } => Self::DelDest {
                service: service.into(),
                destination: destination.into(),
            },
        }
    }
}
