//! A request that writes, as numbers: what a message carries, before it is bytes.
//!
//! Unlike [`crate::Change`] it can hold what the kernel refuses (a weight of −1, a family of 1, an IPv6 prefix of 129), so
//! that the fake kernel and real kernels can be asked the same wrong questions. [`From<&Change>`] never makes such.

use serde::{Deserialize, Serialize};

use crate::errno::Verb;

mod change;
mod random;
pub use random::random_operations;

/// How the kernel finds a service (`ip_vs_genl_parse_service`: family, and mark or protocol, address and port).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceIdentity {
    /// `IPVS_SVC_ATTR_AF`: 2, 10; EAFNOSUPPORT otherwise.
    pub family: u16,
    /// `IPVS_SVC_ATTR_FWMARK`; with it, protocol, address and port are not sent.
    pub mark: Option<u32>,
    /// `IPVS_SVC_ATTR_PROTOCOL`.
    pub protocol: u16,
    /// `IPVS_SVC_ATTR_ADDR`; an IPv4 address in the first four bytes.
    pub address: [u8; 16],
    /// `IPVS_SVC_ATTR_PORT`, as a number.
    pub port: u16,
}

/// What NEW_SERVICE and SET_SERVICE carry besides the identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// `IPVS_SVC_ATTR_SCHED_NAME`.
    pub scheduler: String,
    /// `IPVS_SVC_ATTR_PE_NAME`; not sent = none, also if there was one.
    pub persistence_engine: Option<String>,
    /// `IPVS_SVC_ATTR_FLAGS`, the bits.
    pub flags: u32,
    /// `IPVS_SVC_ATTR_FLAGS`, which bits count.
    pub mask: u32,
    /// `IPVS_SVC_ATTR_TIMEOUT`, seconds.
    pub timeout: u32,
    /// `IPVS_SVC_ATTR_NETMASK`: four bytes as they travel.
    pub netmask: [u8; 4],
}

/// How the kernel finds a destination of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationIdentity {
    /// `IPVS_DEST_ATTR_ADDR_FAMILY`; not sent = the service's.
    pub family: Option<u16>,
    /// `IPVS_DEST_ATTR_ADDR`; an IPv4 address in the first four bytes.
    pub address: [u8; 16],
    /// `IPVS_DEST_ATTR_PORT`, as a number.
    pub port: u16,
}

/// What NEW_DEST and SET_DEST carry besides the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationSettings {
    /// `IPVS_DEST_ATTR_FWD_METHOD`.
    pub method: u32,
    /// `IPVS_DEST_ATTR_WEIGHT`, the bits of an `int` (−1 = `u32::MAX`); not sent = EINVAL.
    pub weight: Option<u32>,
    /// `IPVS_DEST_ATTR_U_THRESH`.
    pub upper_threshold: u32,
    /// `IPVS_DEST_ATTR_L_THRESH`.
    pub lower_threshold: u32,
    /// The three tunnel attributes; not sent = IPIP, also if there was another.
    pub tunnel: Option<TunnelSettings>,
}

/// `IPVS_DEST_ATTR_TUN_TYPE`, `_TUN_PORT`, `_TUN_FLAGS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TunnelSettings {
    /// `IP_VS_CONN_F_TUNNEL_TYPE_*`.
    pub kind: u8,
    /// UDP port, as a number.
    pub port: u16,
    /// `IP_VS_TUNNEL_ENCAP_FLAG_*`.
    pub flags: u16,
}

/// One request that writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// `IPVS_CMD_NEW_SERVICE`.
    NewService {
        /// The service.
        service: ServiceIdentity,
        /// Its settings.
        settings: ServiceSettings,
    },
    /// `IPVS_CMD_SET_SERVICE`.
    SetService {
        /// The service.
        service: ServiceIdentity,
        /// Its settings.
        settings: ServiceSettings,
    },
    /// `IPVS_CMD_DEL_SERVICE`.
    DelService {
        /// The service.
        service: ServiceIdentity,
    },
    /// `IPVS_CMD_NEW_DEST`.
    NewDest {
        /// The service.
        service: ServiceIdentity,
        /// The destination.
        destination: DestinationIdentity,
        /// Its settings.
        settings: DestinationSettings,
    },
    /// `IPVS_CMD_SET_DEST`.
    SetDest {
        /// The service.
        service: ServiceIdentity,
        /// The destination.
        destination: DestinationIdentity,
        /// Its settings.
        settings: DestinationSettings,
    },
    /// `IPVS_CMD_DEL_DEST`.
    DelDest {
        /// The service.
        service: ServiceIdentity,
        /// The destination.
        destination: DestinationIdentity,
    },
}

impl Operation {
    /// The request's verb, for [`crate::errno::meaning`].
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::NewService {
                service: _,
                settings: _,
            } => Verb::NewService,
            Self::SetService {
                service: _,
                settings: _,
            } => Verb::SetService,
            Self::DelService { service: _ } => Verb::DelService,
            Self::NewDest {
                service: _,
                destination: _,
                settings: _,
            } => Verb::NewDest,
            Self::SetDest {
                service: _,
                destination: _,
                settings: _,
            } => Verb::SetDest,
            Self::DelDest {
                service: _,
                destination: _,
            } => Verb::DelDest,
        }
    }

    /// The service that is written, or whose destination is.
    #[must_use]
    pub fn service(&self) -> &ServiceIdentity {
        match self {
            Self::NewService { service, settings: _ }
            | Self::SetService { service, settings: _ }
            | Self::DelService { service }
            | Self::NewDest {
                service,
                destination: _,
                settings: _,
            }
            | Self::SetDest {
                service,
                destination: _,
                settings: _,
            }
            | Self::DelDest {
                service,
                destination: _,
            } => service,
        }
    }
}
