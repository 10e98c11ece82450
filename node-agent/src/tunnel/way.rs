//! From a real server by TUN and a VIP to what its host needs, beside the tunnel devices of others. Total, and without
//! the rest of the node: each real server's way is judged by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{TunnelChecksum, TunnelType};
use ipvs::Family;

use super::{GuePort, ReadTunnel, Tunnel, TunnelKind, is_name_of_ours, maximum_segment_size, overhead};
use crate::state::Facts;

/// How packets for one VIP reach one real server on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The outer destination: an address of this host.
    pub local: IpAddr,
    /// The devices that unwrap them, by name; the VIP is on each.
    pub devices: BTreeMap<String, Tunnel>,
    /// The UDP port before them.
    pub port: Option<GuePort>,
    /// Bytes that the tunnel takes from each packet.
    pub overhead: u16,
    /// The family of the VIP.
    pub inner: Family,
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Nothing to send tunnel packets to.
    #[error("the real server has no address that a tunnel could lead to")]
    NoAddress,
    /// The schema lets no such tunnel through.
    #[error("GUE needs a port from 1 to 65535: set tunnel.port")]
    NoPort,
    /// Whoever has that device would lose his packets to a device of ours that took all; which ones are ours is unknown.
    #[error(
        "{name} is not of lvs-operator's doing and unwraps {kind} packets to {local}: its packets are left to it, and no address of a director is known whose packets could be taken from it"
    )]
    NoDirector {
        /// The foreign device.
        name: String,
        /// Its driver.
        kind: &'static str,
        /// The address that both want packets to.
        local: IpAddr,
    },
    /// A director's packets go to somebody else's device already.
    #[error(
        "{name} is not of lvs-operator's doing and unwraps {kind} packets from {director} to {local}: remove it, or choose another tunnel.type"
    )]
    Taken {
        /// The foreign device.
        name: String,
        /// Its driver.
        kind: &'static str,
        /// The director.
        director: IpAddr,
        /// The address that both want packets to.
        local: IpAddr,
    },
    /// The director is a peer of somebody else's tunnel: its packets cannot be told from the director's.
    #[error(
        "{name} is not of lvs-operator's doing, and its network reaches {director} by {kind} packets, too: taking the director's would take those; choose another tunnel.type"
    )]
    Shared {
        /// The foreign device.
        name: String,
        /// Its driver.
        kind: &'static str,
        /// The director.
        director: IpAddr,
    },
}

impl Way {
    /// The TCP segment size that fits, when the outer packets come in by an interface of this MTU.
    pub fn maximum_segment_size(&self, mtu: u32) -> u16 {
        maximum_segment_size(mtu, self.overhead, self.inner)
    }
}

/// The address of a real server that packets for a VIP are sent to: the one of the VIP's family, else, which only a tunnel
/// can, the other one. Directors choose by the same rule.
pub fn outer_address(addresses: &[IpAddr], vip: IpAddr) -> Option<IpAddr> {
    let same = addresses.iter().find(|address| address.is_ipv4() == vip.is_ipv4());
    same.or_else(|| addresses.first()).copied()
}

/// How packets for `vip` reach the real server with these addresses, from directors with those.
///
/// # Errors
/// There is no way; it takes a person to make one.
pub fn way(
    addresses: &[IpAddr],
    tunnel: &crds::Tunnel,
    vip: IpAddr,
    directors: &BTreeSet<IpAddr>,
    facts: &Facts,
) -> Result<Way, Obstacle> {
    let local = outer_address(addresses, vip).ok_or(Obstacle::NoAddress)?;
    let crds::Tunnel { type_, port, checksum } = tunnel;
    let checksum = checksum.unwrap_or_default();
    let (outer, inner) = (Family::of(local), Family::of(vip));
    let kind = TunnelKind::unwrapping(*type_, outer, inner);
    let port = match type_ {
        TunnelType::Gue => Some(GuePort {
            family: outer,
            port: gue_port(*port)?,
        }),
        TunnelType::Ipip | TunnelType::Gre => None,
    };
    let checksummed = *type_ == TunnelType::Gre && checksum == TunnelChecksum::Checksum;
    let device = |remote| Tunnel::new(kind, local, remote, checksummed);
    let remotes = remotes(kind, local, directors, facts)?;
    let devices = remotes.into_iter().map(device);
    Ok(Way {
        local,
        devices: devices.map(|tunnel| (tunnel.name(), tunnel)).collect(),
        port,
        overhead: overhead(*type_, checksum, outer),
        inner,
    })
}

fn gue_port(port: Option<i32>) -> Result<u16, Obstacle> {
    let port = port.and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port != 0).ok_or(Obstacle::NoPort)
}

/// The outer sources for which devices are made. One device for any of them, unless a foreign device (Calico's `tunl0`, or
/// one to a single other host) would lose its packets: the kernel prefers the device that names this host's address to one
/// that names none, and one that names both ends to all others; and beside a device for any, whoever is no director is
/// dropped. Then there is a device for each director, and the rest stays where it was.
fn remotes(
    kind: TunnelKind,
    local: IpAddr,
    directors: &BTreeSet<IpAddr>,
    facts: &Facts,
) -> Result<Vec<Option<IpAddr>>, Obstacle> {
    let directors = directors.iter().copied();
    let directors: BTreeSet<IpAddr> = directors.filter(|d| d.is_ipv4() == local.is_ipv4()).collect();
    // One of ours is marked in a second step: its name tells.
    let others = facts.tunnels.iter().filter(|(name, _)| !is_name_of_ours(name));
    let beside = |read: &ReadTunnel| read.tunnel.kind == kind && read.tunnel.local.is_none_or(|theirs| theirs == local);
    let others: Vec<_> = others.filter(|(_, read)| beside(read)).collect();
    for (name, read) in &others {
        let takes = |director: &&IpAddr| read.tunnel.remote == Some(**director) && stands(read);
        if let Some(director) = directors.iter().find(takes) {
            return Err(Obstacle::Taken {
                name: (*name).clone(),
                kind: kind.as_str(),
                director: *director,
                local,
            });
        }
    }
    let mut standing = others.into_iter().filter(|(_, read)| stands(read)).peekable();
    let Some((name, _)) = standing.peek().copied() else {
        return Ok(vec![None]);
    };
    let (name, kind) = (name.clone(), kind.as_str());
    for (name, _) in standing.filter(|(_, read)| read.tunnel.remote.is_none()) {
        if let Some(director) = directors.iter().find(|director| is_peer(**director, name, facts)) {
            let (name, director) = (name.clone(), *director);
            return Err(Obstacle::Shared { name, kind, director });
        }
    }
    if directors.is_empty() {
        return Err(Obstacle::NoDirector { name, kind, local });
    }
    Ok(directors.into_iter().map(Some).collect())
}

/// Whether a device unwraps, or would not let another one stand in its place: a fallback device that is down does neither.
fn stands(read: &ReadTunnel) -> bool {
    read.up || read.tunnel.local.is_some()
}

/// Whether routes lead through the device to the director: it sends its own packets this way, too.
fn is_peer(director: IpAddr, device: &str, facts: &Facts) -> bool {
    let mut routes = facts.routes.iter().filter(|route| route.interface == device);
    routes.any(|route| route.gateway == Some(director))
}
