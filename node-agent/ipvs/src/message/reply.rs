//! What the kernel's replies say, as entries of a table.

use super::{Command, IpvsMessage};
use crate::attribute::{Attribute, CounterAttribute, DestinationAttribute, ServiceAttribute};
use crate::table::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Netmask, Protocol, Scheduler, ServiceConfig,
    ServiceFlags, ServiceKey, Timeouts, Tunnel, TunnelFlags, TunnelType,
};

/// A reply that does not say what it must. The kernel of this version never sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The message is no reply of the kind that was asked for.
    #[error("an unexpected command, {0:?}")]
    Unexpected(Command),
    /// An attribute is missing, or has an unknown length.
    #[error("no usable attribute {0}")]
    Missing(&'static str),
    /// Neither AF_INET nor AF_INET6.
    #[error("address family {0} is neither AF_INET nor AF_INET6")]
    Family(u16),
}

/// Counters since the entry was made or zeroed (STATS64). They stand still while `run_estimation` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients; 0 with direct routing and tunnels, whose replies do not pass here.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients.
    pub out_bytes: u64,
}

/// Connections that a destination has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Established.
    pub active: u32,
    /// Others, such as half-closed ones.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
}

impl Activity {
    /// All that packets are sent by. A template is none: it says where the next one goes.
    pub fn connections(&self) -> u32 {
        self.active.saturating_add(self.inactive)
    }
}

/// One reply to GET_SERVICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReply {
    /// The service.
    pub key: ServiceKey,
    /// Its configuration.
    pub config: ServiceConfig,
    /// Its counters.
    pub counters: Counters,
}

/// One reply to GET_DEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationReply {
    /// The destination.
    pub key: DestinationKey,
    /// Its configuration.
    pub config: DestinationConfig,
    /// Its connections.
    pub activity: Activity,
    /// Its counters.
    pub counters: Counters,
}

impl IpvsMessage {
    /// The service of a reply to GET_SERVICE.
    pub fn service(&self) -> Result<ServiceReply, ReplyError> {
        if self.command != Command::NewService {
            return Err(ReplyError::Unexpected(self.command));
        }
        let attributes = self.attributes.iter().find_map(|attribute| {
            if let Attribute::Service(attributes) = attribute {
                Some(attributes)
            } else {
                None
            }
        });
        ServiceFields::collect(attributes.ok_or(ReplyError::Missing("IPVS_CMD_ATTR_SERVICE"))?).reply()
    }

    /// The timeouts of a reply to GET_CONFIG.
    pub fn timeouts(&self) -> Result<Timeouts, ReplyError> {
        if self.command != Command::SetConfig {
            return Err(ReplyError::Unexpected(self.command));
        }
        let mut timeouts = Timeouts::default();
        for attribute in &self.attributes {
            if let Attribute::TimeoutTcp(seconds) = attribute {
                timeouts.tcp = *seconds;
            } else if let Attribute::TimeoutTcpFin(seconds) = attribute {
                timeouts.tcp_fin = *seconds;
            } else if let Attribute::TimeoutUdp(seconds) = attribute {
                timeouts.udp = *seconds;
            }
        }
        Ok(timeouts)
    }

    /// The destination of a reply to GET_DEST; `service` is the family of the service that was asked about, which holds
    /// where a kernel does not say the destination's.
    pub fn destination(&self, service: Family) -> Result<DestinationReply, ReplyError> {
        if self.command != Command::NewDest {
            return Err(ReplyError::Unexpected(self.command));
        }
        let attributes = self.attributes.iter().find_map(|attribute| {
            if let Attribute::Destination(attributes) = attribute {
                Some(attributes)
            } else {
                None
            }
        });
        DestinationFields::collect(attributes.ok_or(ReplyError::Missing("IPVS_CMD_ATTR_DEST"))?).reply(service)
    }
}

#[derive(Default)]
struct ServiceFields<'a> {
    family: Option<u16>,
    protocol: Option<u16>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    mark: Option<u32>,
    scheduler: Option<&'a str>,
    flags: Option<u32>,
    timeout: Option<u32>,
    netmask: Option<[u8; 4]>,
    persistence_engine: Option<&'a str>,
    counters: Counters,
}

impl<'a> ServiceFields<'a> {
    /// A repeated attribute overrides, as in the kernel's own parser.
    fn collect(attributes: &'a [ServiceAttribute]) -> Self {
        let mut fields = Self::default();
        for attribute in attributes {
            match attribute {
                ServiceAttribute::Family(family) => fields.family = Some(*family),
                ServiceAttribute::Protocol(protocol) => fields.protocol = Some(*protocol),
                ServiceAttribute::Address(address) => fields.address = Some(*address),
                ServiceAttribute::Port(port) => fields.port = Some(*port),
                ServiceAttribute::FirewallMark(mark) => fields.mark = Some(*mark),
                ServiceAttribute::SchedulerName(name) => fields.scheduler = Some(name),
                ServiceAttribute::Flags { flags, mask: _ } => fields.flags = Some(*flags),
                ServiceAttribute::Timeout(seconds) => fields.timeout = Some(*seconds),
                ServiceAttribute::Netmask(bytes) => fields.netmask = Some(*bytes),
                ServiceAttribute::PersistenceEngineName(name) => {
                    fields.persistence_engine = Some(name);
                }
                ServiceAttribute::Stats64(counters) => fields.counters = counters_of(counters),
                ServiceAttribute::Other(_) => {}
            }
        }
        fields
    }

    fn reply(self) -> Result<ServiceReply, ReplyError> {
        let number = self.family.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_AF"))?;
        let family = Family::from_number(number).ok_or(ReplyError::Family(number))?;
        let marked = self.mark.and_then(|mark| ServiceKey::firewall_mark(family, mark));
        let key = match marked {
            Some(key) => key,
            None => ServiceKey::Address {
                protocol: Protocol::from_number(self.protocol.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_PROTOCOL"))?),
                address: family.address(self.address.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_ADDR"))?),
                port: self.port.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_PORT"))?,
            },
        };
        let netmask = self.netmask.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_NETMASK"))?;
        let config = ServiceConfig {
            scheduler: Scheduler::new(self.scheduler.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_SCHED_NAME"))?),
            flags: ServiceFlags::from_bits(self.flags.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_FLAGS"))?),
            timeout_seconds: self.timeout.ok_or(ReplyError::Missing("IPVS_SVC_ATTR_TIMEOUT"))?,
            netmask: Netmask::from_bytes(family, netmask),
            persistence_engine: self.persistence_engine.map(str::to_owned),
        };
        Ok(ServiceReply {
            key,
            config,
            counters: self.counters,
        })
    }
}

#[derive(Default)]
struct DestinationFields {
    family: Option<u16>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    method: Option<u32>,
    weight: Option<u32>,
    upper_threshold: Option<u32>,
    lower_threshold: Option<u32>,
    tunnel: Tunnel,
    activity: Activity,
    counters: Counters,
}

impl DestinationFields {
    fn collect(attributes: &[DestinationAttribute]) -> Self {
        let mut fields = Self::default();
        for attribute in attributes {
            match attribute {
                DestinationAttribute::Address(address) => fields.address = Some(*address),
                DestinationAttribute::Port(port) => fields.port = Some(*port),
                DestinationAttribute::ForwardingMethod(method) => fields.method = Some(*method),
                DestinationAttribute::Weight(weight) => fields.weight = Some(*weight),
                DestinationAttribute::UpperThreshold(upper) => {
                    fields.upper_threshold = Some(*upper);
                }
                DestinationAttribute::LowerThreshold(lower) => {
                    fields.lower_threshold = Some(*lower);
                }
                DestinationAttribute::ActiveConnections(count) => fields.activity.active = *count,
                DestinationAttribute::InactiveConnections(count) => {
                    fields.activity.inactive = *count;
                }
                DestinationAttribute::PersistentConnections(count) => {
                    fields.activity.persistent = *count;
                }
                DestinationAttribute::Family(family) => fields.family = Some(*family),
                DestinationAttribute::Stats64(counters) => fields.counters = counters_of(counters),
                DestinationAttribute::TunnelType(kind) => {
                    fields.tunnel.kind = TunnelType::from_number(*kind);
                }
                DestinationAttribute::TunnelPort(port) => fields.tunnel.port = *port,
                DestinationAttribute::TunnelFlags(flags) => {
                    fields.tunnel.flags = TunnelFlags(*flags);
                }
                DestinationAttribute::Other(_) => {}
            }
        }
        fields
    }

    fn reply(self, service: Family) -> Result<DestinationReply, ReplyError> {
        let family = match self.family {
            Some(number) => Family::from_number(number).ok_or(ReplyError::Family(number))?,
            None => service,
        };
        let address = self.address.ok_or(ReplyError::Missing("IPVS_DEST_ATTR_ADDR"))?;
        let port = self.port.ok_or(ReplyError::Missing("IPVS_DEST_ATTR_PORT"))?;
        let config = DestinationConfig {
            method: ForwardingMethod::from_number(self.method.ok_or(ReplyError::Missing("IPVS_DEST_ATTR_FWD_METHOD"))?),
            weight: self.weight.ok_or(ReplyError::Missing("IPVS_DEST_ATTR_WEIGHT"))?,
            upper_threshold: self
                .upper_threshold
                .ok_or(ReplyError::Missing("IPVS_DEST_ATTR_U_THRESH"))?,
            lower_threshold: self
                .lower_threshold
                .ok_or(ReplyError::Missing("IPVS_DEST_ATTR_L_THRESH"))?,
            tunnel: self.tunnel,
        };
        Ok(DestinationReply {
            key: DestinationKey::new(family.address(address), port),
            config,
            activity: self.activity,
            counters: self.counters,
        })
    }
}

fn counters_of(attributes: &[CounterAttribute]) -> Counters {
    let mut counters = Counters::default();
    for attribute in attributes {
        match attribute {
            CounterAttribute::Connections(count) => counters.connections = *count,
            CounterAttribute::InPackets(count) => counters.in_packets = *count,
            CounterAttribute::OutPackets(count) => counters.out_packets = *count,
            CounterAttribute::InBytes(count) => counters.in_bytes = *count,
            CounterAttribute::OutBytes(count) => counters.out_bytes = *count,
            CounterAttribute::Other(_) => {}
        }
    }
    counters
}
