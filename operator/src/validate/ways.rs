//! The ways by which packets reach real servers: their one form, and what goes by them.

use super::Family;
use crds::{
    Forwarding, ForwardingMethod, HostRealServer, PlacedRealServer, PlacedService, Takes, Tunnel, TunnelChecksum,
    TunnelType,
};

/// A way in the one form in which ways are compared: what means the same as nothing is left out.
pub(super) fn forwarding(method: ForwardingMethod, tunnel: Option<&Tunnel>) -> Forwarding {
    let tunnel = tunnel.filter(|_| method == ForwardingMethod::TUN);
    let tunnel = tunnel.filter(|tunnel| tunnel.type_ != TunnelType::Ipip);
    Forwarding {
        forwarding_method: method,
        tunnel: tunnel.map(|tunnel| Tunnel {
            checksum: tunnel.checksum.filter(|checksum| *checksum != TunnelChecksum::None),
            ..tunnel.clone()
        }),
    }
}

/// How a listed real server is reached now.
pub(crate) fn way_of(entry: &PlacedRealServer) -> Forwarding {
    forwarding(entry.forwarding_method, entry.tunnel.as_ref())
}

/// The way by which the last accepted spec reached a real server; its host may not be ready for it yet.
pub(super) fn last_accepted(listed: &PlacedRealServer) -> Forwarding {
    listed.next.clone().unwrap_or_else(|| way_of(listed))
}

/// The way for which a host prepares a real server.
pub(crate) fn way_of_guest(guest: &HostRealServer) -> Forwarding {
    forwarding(guest.forwarding_method, guest.tunnel.as_ref())
}

/// Whether a real server with these addresses, reached in this way, can serve a VIP: by an address of its family, or in a
/// tunnel, which carries either.
pub(crate) fn serves(addresses: &[String], way: &Forwarding, vip: &str) -> bool {
    let may_mix = way.forwarding_method == ForwardingMethod::TUN;
    let family = Family::of(vip);
    !addresses.is_empty() && (may_mix || addresses.iter().any(|address| Family::of(address) == family))
}

/// The port of a real server's destinations, where there is one: it tells two on one address apart.
pub(crate) fn destination_port(services: &[PlacedService], way: &Forwarding, own: Option<i32>) -> Option<i32> {
    let [service] = services else {
        return None;
    };
    let Takes::Port { protocol: _, port } = service.takes() else {
        return None;
    };
    let translated = own.or(service.target_port);
    let translated = translated.filter(|_| way.forwarding_method.translates_ports());
    Some(translated.unwrap_or(port))
}

/// The checksum mode, when the way is GRE.
pub(super) fn gre_checksum(way: &Forwarding) -> Option<TunnelChecksum> {
    let tunnel = way.tunnel.as_ref()?;
    match tunnel.type_ {
        TunnelType::Gre => Some(tunnel.checksum.unwrap_or_default()),
        TunnelType::Ipip | TunnelType::Gue => None,
    }
}

/// Whether one host can be prepared for both ways.
pub(crate) fn ways_agree(a: &Forwarding, b: &Forwarding) -> bool {
    match (gre_checksum(a), gre_checksum(b)) {
        (Some(a), Some(b)) => a == b,
        (None, _) | (_, None) => true,
    }
}
