//! From the API's words for services and real servers to the kernel's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crds::{PlacedRealServer, PlacedService, SchedulerFlag, Takes, TunnelChecksum};
use ipvs::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Netmask, Protocol, ServiceConfig, ServiceFlags,
    ServiceKey, Tunnel, TunnelFlags, TunnelType,
};

use super::{Problem, address};
use crate::checks::Way;

/// The services that a placed one is on these VIPs, each with the VIPs that it serves: one for each VIP, or one for each
/// family when a mark selects the packets. A number that is none selects nothing.
pub fn keys(placed: &PlacedService, vips: impl Iterator<Item = IpAddr>) -> BTreeMap<ServiceKey, BTreeSet<IpAddr>> {
    let key = |vip: IpAddr| match placed.takes() {
        Takes::Port { protocol, port } => {
            let port = u16::try_from(port).ok()?;
            Some(ServiceKey::address(self::protocol(protocol), vip, port))
        }
        Takes::Mark(mark) => ServiceKey::firewall_mark(Family::of(vip), u32::try_from(mark).ok()?),
    };
    let mut keys: BTreeMap<ServiceKey, BTreeSet<IpAddr>> = BTreeMap::new();
    for vip in vips {
        if let Some(key) = key(vip) {
            keys.entry(key).or_default().insert(vip);
        }
    }
    keys
}

/// The kernel's word for a protocol.
pub(super) fn protocol(protocol: crds::Protocol) -> Protocol {
    match protocol {
        crds::Protocol::Tcp => Protocol::Tcp,
        crds::Protocol::Udp => Protocol::Udp,
        crds::Protocol::Sctp => Protocol::Sctp,
    }
}

/// `ipvsadm -A`.
pub(super) fn config(placed: &PlacedService, family: Family) -> ServiceConfig {
    let mut config = ServiceConfig::new(placed.scheduler.as_str(), family);
    for flag in &placed.scheduler_flags {
        config.flags = config.flags
            | match flag {
                SchedulerFlag::ShFallback => ServiceFlags::SH_FALLBACK,
                SchedulerFlag::ShPort => ServiceFlags::SH_PORT,
                SchedulerFlag::MhFallback => ServiceFlags::MH_FALLBACK,
                SchedulerFlag::MhPort => ServiceFlags::MH_PORT,
            };
    }
    if placed.one_packet {
        config.flags = config.flags | ServiceFlags::ONE_PACKET;
    }
    if let Some(persistence) = &placed.persistence {
        config.flags = config.flags | ServiceFlags::PERSISTENT;
        config.timeout_seconds = u32::try_from(persistence.timeout_seconds).unwrap_or_default();
        config.netmask = netmask(persistence, family);
        config.persistence_engine = persistence.engine.map(|engine| match engine {
            crds::PersistenceEngine::Sip => "sip".to_owned(),
        });
    }
    config
}

fn netmask(persistence: &crds::Persistence, family: Family) -> Netmask {
    match family {
        Family::Ipv4 => {
            let length = u32::try_from(persistence.ipv4_prefix_length).unwrap_or(32).clamp(1, 32);
            Netmask::Mask(Ipv4Addr::from_bits(u32::MAX << (32 - length)))
        }
        Family::Ipv6 => Netmask::PrefixLength(u32::try_from(persistence.ipv6_prefix_length).unwrap_or(128)),
    }
}

/// `ipvsadm -a` for each address that the real server has for these VIPs, where its host is prepared for all of them.
pub(crate) fn destinations(
    server: &PlacedRealServer,
    placed: &PlacedService,
    family: Family,
    vips: &BTreeSet<IpAddr>,
) -> Result<Vec<(DestinationKey, DestinationConfig)>, Problem> {
    let prepared: BTreeSet<IpAddr> = server.prepared.iter().filter_map(|text| text.parse().ok()).collect();
    if !vips.is_subset(&prepared) {
        return Ok(Vec::new());
    }
    let config = destination(server)?;
    let port = port(server, placed)?;
    let address = address_for(server, family, config.method)?;
    Ok(address
        .map(|address| (DestinationKey::new(address, port), config))
        .into_iter()
        .collect())
}

/// The address that packets of a family are sent to.
fn address_for(server: &PlacedRealServer, family: Family, method: ForwardingMethod) -> Result<Option<IpAddr>, Problem> {
    let addresses = server.addresses.iter().map(|text| address(text));
    let addresses: Vec<IpAddr> = addresses.collect::<Result<_, _>>()?;
    let address = addresses.iter().find(|address| Family::of(**address) == family);
    // Only a tunnel carries packets of one family over the other.
    let other = || addresses.first().filter(|_| method == ForwardingMethod::Tunnel);
    Ok(address.or_else(other).copied())
}

/// The way of packets to a VIP to a real server; none where there can be no destination.
pub(crate) fn way(server: &PlacedRealServer, vip: IpAddr) -> Option<Way> {
    let config = destination(server).ok()?;
    let (method, tunnel) = (config.method, config.tunnel);
    let family = Family::of(vip);
    Some(Way {
        family,
        server: address_for(server, family, method).ok()??,
        method,
        tunnel,
    })
}

fn destination(server: &PlacedRealServer) -> Result<DestinationConfig, Problem> {
    let number = |kind, value: i32| {
        u32::try_from(value).map_err(|_| Problem::BadValue {
            kind,
            value: value.to_string(),
        })
    };
    let method = match server.forwarding_method {
        crds::ForwardingMethod::DR => ForwardingMethod::DirectRouting,
        crds::ForwardingMethod::TUN => ForwardingMethod::Tunnel,
        // The source is rewritten behind IPVS, by nftables.
        crds::ForwardingMethod::NAT | crds::ForwardingMethod::FullNAT => ForwardingMethod::Masquerade,
    };
    // A sorry server serves all or nothing: 0 would be nobody, where it is needed most.
    let least = i32::from(server.sorry);
    let mut config = DestinationConfig::new(method, number("weight", server.weight.max(least))?);
    config.upper_threshold = number("upper threshold", server.upper_threshold)?;
    config.lower_threshold = number("lower threshold", server.lower_threshold)?;
    if method == ForwardingMethod::Tunnel {
        config.tunnel = tunnel(server.tunnel.clone().unwrap_or_default())?;
    }
    Ok(config)
}

fn tunnel(tunnel: crds::Tunnel) -> Result<Tunnel, Problem> {
    let crds::Tunnel { type_, port, checksum } = tunnel;
    let kind = match type_ {
        crds::TunnelType::Ipip => TunnelType::Ipip,
        crds::TunnelType::Gue => TunnelType::Gue,
        crds::TunnelType::Gre => TunnelType::Gre,
    };
    let flags = match checksum.unwrap_or_default() {
        TunnelChecksum::None => TunnelFlags::NO_CHECKSUM,
        TunnelChecksum::Checksum => TunnelFlags::CHECKSUM,
        TunnelChecksum::RemoteChecksum => TunnelFlags::REMOTE_CHECKSUM,
    };
    let port = port_number(port.unwrap_or_default())?;
    Ok(Tunnel { kind, port, flags })
}

/// The real server's port: its own, the service's target, or the port itself. A mark keeps ports, which is port 0.
pub(crate) fn port(server: &PlacedRealServer, placed: &PlacedService) -> Result<u16, Problem> {
    let kept = match placed.takes() {
        Takes::Port { protocol: _, port } => port,
        Takes::Mark(_) => 0,
    };
    let is_translated = server.forwarding_method.translates_ports();
    let translated = server.port.or(placed.target_port).filter(|_| is_translated);
    port_number(translated.unwrap_or(kept))
}

fn port_number(port: i32) -> Result<u16, Problem> {
    u16::try_from(port).map_err(|_| Problem::BadValue {
        kind: "port",
        value: port.to_string(),
    })
}

#[cfg(test)]
mod tests;
