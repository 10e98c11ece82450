//! From rtnetlink's bytes to values. Unknown attributes are passed over; what must be there and is not is an error.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NlasIterator};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressHeader, AddressScope as Scope};
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteType};

use super::FOREVER;
use crate::kernel::KernelError;
use crate::state::{ADDRESS_PROTOCOL, AddressConfig, AddressKey, AddressScope, Interface, Route};
use crate::tunnel::{ALIAS, ReadTunnel, Tunnel};

mod tunnel;
use tunnel::read_tunnel;

// Lengths of struct ifinfomsg, ifaddrmsg, rtmsg and rtnexthop.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const NEXT_HOP_HEADER: usize = 8;

// Attributes (include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h).
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_PROTO: u16 = 11;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;

const RT_TABLE_MAIN: u32 = 254;

/// `RTNH_F_DEAD`: the interface is down.
const DEAD: u8 = 1;

/// A link, as far as it matters.
#[derive(Clone, Debug)]
pub(in crate::kernel) struct Link {
    pub(in crate::kernel) name: String,
    pub(in crate::kernel) index: u32,
    /// Hardware address of an Ethernet interface.
    pub(in crate::kernel) mac: Option<[u8; 6]>,
    flags: LinkFlags,
    ethernet: bool,
    master: bool,
    kind: String,
    port_kind: String,
    mtu: u32,
    alias: String,
    /// What it takes, when it is a tunnel device.
    pub(in crate::kernel) tunnel: Option<Tunnel>,
}

impl Link {
    /// The tunnel device.
    pub(in crate::kernel) fn read_tunnel(&self) -> Option<ReadTunnel> {
        Some(ReadTunnel {
            tunnel: self.tunnel.clone()?,
            up: self.flags.contains(LinkFlags::Up),
            marked: self.alias == ALIAS,
        })
    }

    /// The module of GRE brings `gretap0` and `erspan0` to every network namespace, down, which nobody speaks on until
    /// somebody sets them up.
    fn is_idle_tunnel(&self) -> bool {
        ["gretap", "erspan"].contains(&self.kind.as_str()) && !self.flags.contains(LinkFlags::Up)
    }

    /// The fact; whether it has addresses is not known here.
    pub(in crate::kernel) fn interface(&self) -> Interface {
        Interface {
            index: self.index,
            up: self.flags.contains(LinkFlags::Up),
            arp: self.ethernet
                && !self.flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback)
                && !self.is_idle_tunnel(),
            // A member of a VRF has a master too, and speaks ARP itself.
            enslaved: self.master && self.port_kind != "vrf",
            veth: self.kind == "veth",
            addressed: false,
            mtu: self.mtu,
        }
    }
}

/// An address, as far as it matters.
#[derive(Clone, Debug)]
pub(super) struct ReadAddress {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) config: AddressConfig,
    /// Whether it carries our mark.
    pub(super) ours: bool,
}

impl ReadAddress {
    pub(super) fn key(&self, interface: &str) -> AddressKey {
        AddressKey {
            interface: interface.to_owned(),
            address: self.address,
        }
    }
}

pub(super) fn read_link(payload: &[u8]) -> Result<Link, KernelError> {
    let header = LinkHeader::parse(payload).map_err(undecoded)?;
    let mut link = Link {
        name: String::new(),
        index: header.index,
        mac: None,
        flags: header.flags,
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        master: false,
        kind: String::new(),
        port_kind: String::new(),
        mtu: 0,
        alias: String::new(),
        tunnel: None,
    };
    let mut data: &[u8] = &[];
    for (kind, value) in attributes(payload, LINK_HEADER)? {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = number(value).unwrap_or_default(),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_MASTER => link.master = true,
            IFLA_LINKINFO => {
                for (kind, value) in attributes(value, 0)? {
                    match kind {
                        IFLA_INFO_KIND => link.kind = text(value),
                        IFLA_INFO_DATA => data = value,
                        IFLA_INFO_SLAVE_KIND => link.port_kind = text(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.tunnel = read_tunnel(&link.kind, data)?;
    Ok(link)
}

/// `None` for an address of neither IPv4 nor IPv6.
pub(super) fn read_address(payload: &[u8]) -> Result<Option<ReadAddress>, KernelError> {
    let header = AddressHeader::parse(payload).map_err(undecoded)?;
    let (mut local, mut peer, mut protocol, mut valid) = (None, None, 0, FOREVER);
    for (kind, value) in attributes(payload, ADDRESS_HEADER)? {
        match kind {
            IFA_LOCAL => local = address(header.family, value),
            IFA_ADDRESS => peer = address(header.family, value),
            IFA_PROTO => protocol = value.first().copied().unwrap_or_default(),
            IFA_CACHEINFO => valid = value.get(4..).and_then(number).unwrap_or(FOREVER),
            _ => {}
        }
    }
    // Of a point-to-point address, IFA_ADDRESS is the other end.
    let Some(address) = local.or(peer) else { return Ok(None) };
    let scope = match u8::from(header.scope) {
        scope if scope == u8::from(Scope::Universe) => AddressScope::Global,
        scope if scope == u8::from(Scope::Host) => AddressScope::Host,
        scope => AddressScope::Other(scope),
    };
    Ok(Some(ReadAddress {
        index: header.index,
        address,
        config: AddressConfig {
            prefix_length: header.prefix_len,
            scope,
            lifetime: (valid != FOREVER).then_some(valid),
        },
        ours: protocol == ADDRESS_PROTOCOL,
    }))
}

/// One route for each interface that it leaves by; none for other tables, other types, and dead next hops.
pub(super) fn read_routes(payload: &[u8], names: &BTreeMap<u32, String>) -> Result<Vec<Route>, KernelError> {
    let header = RouteHeader::parse(payload).map_err(undecoded)?;
    let family = header.address_family;
    let mut table = u32::from(header.table);
    let (mut destination, mut metric, mut hops) = (unspecified(family), 0, Vec::new());
    let (mut gateway, mut source) = (None, None);
    for (kind, value) in attributes(payload, ROUTE_HEADER)? {
        match kind {
            RTA_TABLE => table = number(value).unwrap_or(table),
            RTA_DST => destination = address(family, value),
            RTA_PREFSRC => source = address(family, value),
            RTA_PRIORITY => metric = number(value).unwrap_or_default(),
            RTA_OIF if !header.flags.contains(RouteFlags::Dead) => {
                hops.extend(number(value).map(|index| (index, None)))
            }
            RTA_GATEWAY => gateway = address(family, value),
            RTA_VIA => gateway = via(value),
            RTA_MULTIPATH => hops.extend(next_hops(family, value)),
            _ => {}
        }
    }
    if table != RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return Ok(Vec::new());
    }
    let network = destination.and_then(|address| IpNet::new(address, header.destination_prefix_length).ok());
    let Some(network) = network else { return Ok(Vec::new()) };
    let route = |(index, through): &(u32, Option<IpAddr>)| {
        names.get(index).map(|interface| Route {
            network,
            metric,
            interface: interface.clone(),
            gateway: through.or(gateway),
            source,
        })
    };
    Ok(hops.iter().filter_map(route).collect())
}

/// Interfaces and routers of the living next hops: struct rtnexthop, each with its length and attributes of its own.
fn next_hops(family: AddressFamily, mut value: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    let mut hops = Vec::new();
    while let [low, high, flags, _, index @ ..] = value {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        if length < NEXT_HOP_HEADER {
            break;
        }
        if flags & DEAD == 0 {
            let hop = value.get(..length).unwrap_or(value);
            let gateway = attributes(hop, NEXT_HOP_HEADER).ok().and_then(|attributes| {
                attributes.into_iter().find_map(|(kind, value)| match kind {
                    RTA_GATEWAY => address(family, value),
                    RTA_VIA => via(value),
                    _ => None,
                })
            });
            hops.extend(number(index).map(|index| (index, gateway)));
        }
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// struct rtvia: an IPv4 route through an IPv6 router.
fn via(value: &[u8]) -> Option<IpAddr> {
    let (family, bytes) = value.split_at_checked(2)?;
    let family = u16::from_ne_bytes(family.try_into().ok()?);
    address(AddressFamily::from(u8::try_from(family).ok()?), bytes)
}

fn attributes(payload: &[u8], header: usize) -> Result<Vec<(u16, &[u8])>, KernelError> {
    let bytes = payload.get(header..).unwrap_or_default();
    let mut attributes = Vec::new();
    let mut place = 0;
    for attribute in NlasIterator::new(bytes) {
        let attribute = attribute.map_err(undecoded)?;
        let length = usize::from(attribute.length());
        // The value by its place in the payload: what the buffer lends lives no longer than the buffer.
        attributes.push((
            attribute.kind(),
            bytes.get(place + 4..place + length).unwrap_or_default(),
        ));
        place += length.next_multiple_of(4);
    }
    Ok(attributes)
}

fn address(family: AddressFamily, value: &[u8]) -> Option<IpAddr> {
    if family == AddressFamily::Inet {
        return <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    }
    if family == AddressFamily::Inet6 {
        return <[u8; 16]>::try_from(value).ok().map(IpAddr::from);
    }
    None
}

/// The destination of a default route, which carries none.
fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    address(family, &[0; 4]).or_else(|| address(family, &[0; 16]))
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn undecoded(error: DecodeError) -> KernelError {
    KernelError::Io(format!("rtnetlink: {error}"))
}

#[cfg(test)]
mod tests;
