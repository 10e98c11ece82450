//! Links, addresses and routes over rtnetlink.
//!
//! Only the attributes that are needed are decoded: a decoder of whole messages refuses a link for one attribute that a
//! newer kernel made longer, and the agent would be blind for it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipvs::Errno;
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope as Scope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::KernelError;
use super::socket::{Message, Socket};
use crate::state::{ADDRESS_PROTOCOL, AddressConfig, AddressKey, AddressScope, Facts};

mod decode;
pub(super) use decode::Link;
use decode::{ReadAddress, read_address, read_link, read_routes};

// Message types (include/uapi/linux/rtnetlink.h).
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;

const EADDRNOTAVAIL: Errno = Errno(libc::EADDRNOTAVAIL);
const ENODEV: Errno = Errno(libc::ENODEV);

/// A lifetime without end (`INFINITY_LIFE_TIME`, include/net/addrconf.h).
const FOREVER: u32 = u32::MAX;

/// The network namespace's links, addresses and routes.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) socket: Socket,
}

impl Network {
    pub(super) fn new() -> Self {
        Self {
            socket: Socket::new(NETLINK_ROUTE),
        }
    }

    /// Our addresses, and the facts.
    pub(super) fn read(&mut self) -> Result<(BTreeMap<AddressKey, AddressConfig>, Facts), KernelError> {
        let mut facts = Facts::default();
        let mut names = BTreeMap::new();
        for link in self.links()? {
            facts.interfaces.insert(link.name.clone(), link.interface());
            facts
                .tunnels
                .extend(link.read_tunnel().map(|tunnel| (link.name.clone(), tunnel)));
            names.insert(link.index, link.name);
        }
        let mut ours = BTreeMap::new();
        for address in self.addresses()? {
            // An interface that came after the links were read: its notification brings the next pass.
            let Some(interface) = names.get(&address.index) else {
                continue;
            };
            if address.ours {
                ours.insert(address.key(interface), address.config);
                continue;
            }
            if let Some(interface) = facts.interfaces.get_mut(interface) {
                interface.addressed |= address.address.is_ipv4();
            }
            let holder = facts.foreign_addresses.entry(address.address);
            holder.or_insert_with(|| interface.clone());
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            for reply in self.socket.dump(&message(RTM_GETROUTE, 0, &question))? {
                facts.routes.extend(read_routes(&reply.payload, &names)?);
            }
        }
        Ok((ours, facts))
    }

    /// One interface, now: nothing is remembered, so that an interface made anew is never mistaken for its predecessor.
    pub(super) fn link(&mut self, name: &str) -> Result<Link, KernelError> {
        let missing = || KernelError::NoInterface {
            interface: name.to_owned(),
        };
        let mut question = links_question();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.socket.ask(&message(RTM_GETLINK, 0, &question)) {
            Ok(replies) => replies
                .first()
                .map_or_else(|| Err(missing()), |reply| read_link(&reply.payload)),
            Err(KernelError::Refused { errno: ENODEV }) => Err(missing()),
            Err(error) => Err(error),
        }
    }

    /// Adds an address with our mark. One of ours that is there already is done, and its lifetime begins anew.
    pub(super) fn add(&mut self, key: &AddressKey, config: &AddressConfig) -> Result<(), KernelError> {
        let index = self.link(&key.interface)?.index;
        let request = address_message(index, key.address, config);
        let exclusively = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &request);
        let result = self.socket.ask(&exclusively).map(|_| ());
        if result != Err(KernelError::Refused { errno: Errno::EEXIST }) {
            return result.map_err(|error| without_interface(error, key));
        }
        let same = |other: &ReadAddress| {
            other.index == index && other.address == key.address && other.config.prefix_length == config.prefix_length
        };
        let present = self.addresses()?.into_iter().find(same);
        match present {
            // NLM_F_REPLACE would put our mark on an address of somebody else: only after we know that it is ours.
            Some(present) if present.ours && present.config.scope == config.scope => {
                let anew = message(RTM_NEWADDR, NLM_F_REPLACE, &request);
                match config.lifetime.or(present.config.lifetime) {
                    Some(_) => self.socket.ask(&anew).map(|_| ()),
                    None => Ok(()),
                }
            }
            Some(_) | None => result,
        }
    }

    /// Deletes an address. What is gone, with its interface or without, is done.
    pub(super) fn delete(&mut self, key: &AddressKey, config: &AddressConfig) -> Result<(), KernelError> {
        let index = match self.link(&key.interface) {
            Ok(link) => link.index,
            Err(KernelError::NoInterface { interface: _ }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let request = address_message(index, key.address, config);
        match self.socket.ask(&message(RTM_DELADDR, 0, &request)) {
            Ok(_)
            | Err(KernelError::Refused {
                errno: EADDRNOTAVAIL | ENODEV,
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn links(&mut self) -> Result<Vec<Link>, KernelError> {
        let replies = self.socket.dump(&message(RTM_GETLINK, 0, &links_question()))?;
        replies.iter().map(|reply| read_link(&reply.payload)).collect()
    }

    fn addresses(&mut self) -> Result<Vec<ReadAddress>, KernelError> {
        let replies = self.socket.dump(&message(RTM_GETADDR, 0, &AddressMessage::default()))?;
        let addresses = replies.iter().map(|reply| read_address(&reply.payload).transpose());
        addresses.flatten().collect()
    }
}

/// Counters are most of a link's message, and nobody asks for them here.
fn links_question() -> LinkMessage {
    let mut question = LinkMessage::default();
    let quietly = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    question.attributes.push(quietly);
    question
}

/// IPv6 VIPs skip duplicate address detection and are deprecated from the start: else a director speaks from them.
fn address_message(index: u32, address: IpAddr, config: &AddressConfig) -> AddressMessage {
    let AddressConfig {
        prefix_length,
        scope,
        lifetime,
    } = *config;
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix_length;
    message.header.scope = match scope {
        AddressScope::Global => Scope::Universe,
        AddressScope::Host => Scope::Host,
        AddressScope::Other(number) => Scope::from(number),
    };
    let valid = lifetime.unwrap_or(FOREVER);
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = valid;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::Protocol(AddressProtocol::Other(ADDRESS_PROTOCOL)),
    ];
    match address {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            lifetimes.ifa_preferred = valid;
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            lifetimes.ifa_preferred = 0;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    message
}

pub(super) fn message(kind: u16, flags: u16, content: &impl Emitable) -> Message {
    let mut payload = vec![0; content.buffer_len()];
    content.emit(&mut payload);
    Message { kind, flags, payload }
}

/// The interface went between its look-up and the change.
fn without_interface(error: KernelError, key: &AddressKey) -> KernelError {
    if error != (KernelError::Refused { errno: ENODEV }) {
        return error;
    }
    KernelError::NoInterface {
        interface: key.interface.clone(),
    }
}
