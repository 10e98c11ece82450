//! Messages of the generic netlink family `IPVS`.
//!
//! Requests are values made from [`Operation`]s and keys; the socket adds `NLM_F_REQUEST` and, where this page says dump,
//! `NLM_F_DUMP`. Attributes go in the order in which ipvsadm sends them, so that captured bytes compare.

use netlink_packet_core::{DecodeError, Emitable, ErrorContext, NlasIterator, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};

use crate::attribute::{Attribute, DestinationAttribute, ServiceAttribute, length, write};
use crate::diff::Change;
use crate::operation::{
    DestinationIdentity, DestinationSettings, Operation, ServiceIdentity, ServiceSettings, TunnelSettings,
};
use crate::table::{ServiceKey, Timeouts};
use crate::uapi::*;

mod reply;
pub use reply::{Activity, Counters, DestinationReply, ReplyError, ServiceReply};

/// Commands of the family (`IPVS_CMD_*`). Replies to GET_SERVICE carry [`Command::NewService`], to GET_DEST
/// [`Command::NewDest`], to GET_INFO [`Command::SetInfo`], to GET_CONFIG [`Command::SetConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// `IPVS_CMD_NEW_SERVICE`.
    NewService,
    /// `IPVS_CMD_SET_SERVICE`.
    SetService,
    /// `IPVS_CMD_DEL_SERVICE`.
    DelService,
    /// `IPVS_CMD_GET_SERVICE`.
    GetService,
    /// `IPVS_CMD_NEW_DEST`.
    NewDest,
    /// `IPVS_CMD_SET_DEST`.
    SetDest,
    /// `IPVS_CMD_DEL_DEST`.
    DelDest,
    /// `IPVS_CMD_GET_DEST`.
    GetDest,
    /// `IPVS_CMD_SET_CONFIG`.
    SetConfig,
    /// `IPVS_CMD_GET_CONFIG`.
    GetConfig,
    /// `IPVS_CMD_SET_INFO`.
    SetInfo,
    /// `IPVS_CMD_GET_INFO`.
    GetInfo,
    /// Any other command, such as those of the sync daemon.
    Other(u8),
}

impl From<u8> for Command {
    fn from(number: u8) -> Self {
        match number {
            IPVS_CMD_NEW_SERVICE => Self::NewService,
            IPVS_CMD_SET_SERVICE => Self::SetService,
            IPVS_CMD_DEL_SERVICE => Self::DelService,
            IPVS_CMD_GET_SERVICE => Self::GetService,
            IPVS_CMD_NEW_DEST => Self::NewDest,
            IPVS_CMD_SET_DEST => Self::SetDest,
            IPVS_CMD_DEL_DEST => Self::DelDest,
            IPVS_CMD_GET_DEST => Self::GetDest,
            IPVS_CMD_SET_CONFIG => Self::SetConfig,
            IPVS_CMD_GET_CONFIG => Self::GetConfig,
            IPVS_CMD_SET_INFO => Self::SetInfo,
            IPVS_CMD_GET_INFO => Self::GetInfo,
            other => Self::Other(other),
        }
    }
}

impl From<Command> for u8 {
    fn from(command: Command) -> Self {
        match command {
            Command::NewService => IPVS_CMD_NEW_SERVICE,
            Command::SetService => IPVS_CMD_SET_SERVICE,
            Command::DelService => IPVS_CMD_DEL_SERVICE,
            Command::GetService => IPVS_CMD_GET_SERVICE,
            Command::NewDest => IPVS_CMD_NEW_DEST,
            Command::SetDest => IPVS_CMD_SET_DEST,
            Command::DelDest => IPVS_CMD_DEL_DEST,
            Command::GetDest => IPVS_CMD_GET_DEST,
            Command::SetConfig => IPVS_CMD_SET_CONFIG,
            Command::GetConfig => IPVS_CMD_GET_CONFIG,
            Command::SetInfo => IPVS_CMD_SET_INFO,
            Command::GetInfo => IPVS_CMD_GET_INFO,
            Command::Other(number) => number,
        }
    }
}

/// A message of the family, request or reply: payload for `netlink_packet_generic::GenlMessage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpvsMessage {
    /// The command.
    pub command: Command,
    /// The attributes of the first level.
    pub attributes: Vec<Attribute>,
}

impl IpvsMessage {
    /// GET_SERVICE of one key, without NLM_F_DUMP. The kernel answers one service, or ESRCH: absence that may be believed.
    #[must_use]
    pub fn get_service(service: &ServiceKey) -> Self {
        Self::of_service(Command::GetService, identity(&service.into()))
    }

    /// GET_SERVICE with NLM_F_DUMP: every service, without destinations. Written to meanwhile, it misses entries without a sign.
    #[must_use]
    pub fn dump_services() -> Self {
        Self {
            command: Command::GetService,
            attributes: Vec::new(),
        }
    }

    /// GET_DEST with NLM_F_DUMP: every destination of one service. A service that is not there gives an empty dump, not an error.
    #[must_use]
    pub fn dump_destinations(service: &ServiceKey) -> Self {
        Self::of_service(Command::GetDest, identity(&service.into()))
    }

    /// GET_INFO: version and size of the connection table.
    #[must_use]
    pub fn get_info() -> Self {
        Self {
            command: Command::GetInfo,
            attributes: Vec::new(),
        }
    }

    /// GET_CONFIG: the idle timeouts.
    #[must_use]
    pub fn get_config() -> Self {
        Self {
            command: Command::GetConfig,
            attributes: Vec::new(),
        }
    }

    /// SET_CONFIG: `ipvsadm --set`. The kernel keeps a timeout that is given as 0.
    #[must_use]
    pub fn set_config(timeouts: &Timeouts) -> Self {
        let Timeouts { tcp, tcp_fin, udp } = timeouts;
        Self {
            command: Command::SetConfig,
            attributes: vec![
                Attribute::TimeoutTcp(*tcp),
                Attribute::TimeoutTcpFin(*tcp_fin),
                Attribute::TimeoutUdp(*udp),
            ],
        }
    }

    fn of_service(command: Command, service: Vec<ServiceAttribute>) -> Self {
        Self {
            command,
            attributes: vec![Attribute::Service(service)],
        }
    }

    fn of_destination(command: Command, service: &ServiceIdentity, destination: Vec<DestinationAttribute>) -> Self {
        let service = Attribute::Service(identity(service));
        Self {
            command,
            attributes: vec![service, Attribute::Destination(destination)],
        }
    }
}

impl From<&Operation> for IpvsMessage {
    fn from(operation: &Operation) -> Self {
        match operation {
            Operation::NewService { service, settings } => {
                Self::of_service(Command::NewService, full_service(service, settings))
            }
            Operation::SetService { service, settings } => {
                Self::of_service(Command::SetService, full_service(service, settings))
            }
            Operation::DelService { service } => Self::of_service(Command::DelService, identity(service)),
            Operation::NewDest {
                service,
                destination,
                settings,
            } => Self::of_destination(Command::NewDest, service, full_destination(destination, settings)),
            Operation::SetDest {
                service,
                destination,
                settings,
            } => Self::of_destination(Command::SetDest, service, full_destination(destination, settings)),
            Operation::DelDest { service, destination } => {
                Self::of_destination(Command::DelDest, service, destination_identity(destination))
            }
        }
    }
}

impl From<&Change> for IpvsMessage {
    fn from(change: &Change) -> Self {
        Self::from(&Operation::from(change))
    }
}

/// Of a service, or of a destination: sixty thousand lists are not grown step by step.
const MOST_ATTRIBUTES: usize = 12;

fn identity(service: &ServiceIdentity) -> Vec<ServiceAttribute> {
    let ServiceIdentity {
        family,
        mark,
        protocol,
        address,
        port,
    } = service;
    let mut attributes = Vec::with_capacity(MOST_ATTRIBUTES);
    attributes.push(ServiceAttribute::Family(*family));
    match mark {
        Some(mark) => attributes.push(ServiceAttribute::FirewallMark(*mark)),
        None => attributes.extend([
            ServiceAttribute::Protocol(*protocol),
            ServiceAttribute::Address(*address),
            ServiceAttribute::Port(*port),
        ]),
    }
    attributes
}

fn full_service(service: &ServiceIdentity, settings: &ServiceSettings) -> Vec<ServiceAttribute> {
    let ServiceSettings {
        scheduler,
        persistence_engine,
        flags,
        mask,
        timeout,
        netmask,
    } = settings;
    let mut attributes = identity(service);
    attributes.push(ServiceAttribute::SchedulerName(scheduler.clone()));
    if let Some(name) = persistence_engine {
        attributes.push(ServiceAttribute::PersistenceEngineName(name.clone()));
    }
    attributes.extend([
        ServiceAttribute::Flags {
            flags: *flags,
            mask: *mask,
        },
        ServiceAttribute::Timeout(*timeout),
        ServiceAttribute::Netmask(*netmask),
    ]);
    attributes
}

fn destination_identity(destination: &DestinationIdentity) -> Vec<DestinationAttribute> {
    let DestinationIdentity { family, address, port } = destination;
    let mut attributes = Vec::with_capacity(MOST_ATTRIBUTES);
    attributes.extend(family.map(DestinationAttribute::Family));
    attributes.push(DestinationAttribute::Address(*address));
    attributes.push(DestinationAttribute::Port(*port));
    attributes
}

fn full_destination(destination: &DestinationIdentity, settings: &DestinationSettings) -> Vec<DestinationAttribute> {
    let DestinationSettings {
        method,
        weight,
        upper_threshold,
        lower_threshold,
        tunnel,
    } = settings;
    let mut attributes = destination_identity(destination);
    attributes.push(DestinationAttribute::ForwardingMethod(*method));
    attributes.extend(weight.map(DestinationAttribute::Weight));
    if let Some(TunnelSettings { kind, port, flags }) = tunnel {
        attributes.extend([
            DestinationAttribute::TunnelType(*kind),
            DestinationAttribute::TunnelPort(*port),
            DestinationAttribute::TunnelFlags(*flags),
        ]);
    }
    attributes.push(DestinationAttribute::UpperThreshold(*upper_threshold));
    attributes.push(DestinationAttribute::LowerThreshold(*lower_threshold));
    attributes
}

impl GenlFamily for IpvsMessage {
    fn family_name() -> &'static str {
        IPVS_GENL_NAME
    }

    fn command(&self) -> u8 {
        self.command.into()
    }

    fn version(&self) -> u8 {
        IPVS_GENL_VERSION
    }
}

impl Emitable for IpvsMessage {
    fn buffer_len(&self) -> usize {
        length(&self.attributes)
    }

    fn emit(&self, buffer: &mut [u8]) {
        write(&self.attributes, buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for IpvsMessage {
    fn parse_with_param(buffer: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let attributes = NlasIterator::new(buffer)
            .map(|nla| Attribute::parse(header.cmd, &nla?))
            .collect::<Result<_, _>>()
            .context("attributes of an IPVS message")?;
        Ok(Self {
            command: header.cmd.into(),
            attributes,
        })
    }
}

#[cfg(test)]
mod tests;
