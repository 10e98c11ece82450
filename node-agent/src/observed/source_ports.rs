//! How far FullNAT has used up its source ports.
//!
//! A connection by FullNAT takes one port of one source address towards one port of a real server, and holds it as long as
//! IPVS knows the connection, the closing time included. When all are taken new connections are dropped, which nothing
//! tells but a counter of connection tracking (`insert_failed`): so it is said before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipvs::{DestinationKey, Protocol, ServiceKey};

use crate::kernel::Kernel;
use crate::observed::Observed;
use crate::ruleset::{Flow, Ruleset, Source};

/// What the kernel chooses from for a client's port from 1024 on (`nf_nat_l4proto_unique_tuple`): 1024 to 65535.
const PORTS_OF_ADDRESS: u32 = 64_512;

/// One port of a real server, by protocol: all connections towards it, of whatever service, share the source ports.
pub type Towards = (Protocol, SocketAddr);

/// The source ports towards one port of a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePorts {
    /// In use, at most: by as many connections.
    pub used: u32,
    /// Of all source addresses together.
    pub all: u32,
}

impl SourcePorts {
    /// The share in use, 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.used) / f64::from(self.all.max(1))
    }

    /// Whether three quarters are in use: time to give more addresses.
    pub fn are_low(self) -> bool {
        u64::from(self.used) * 4 >= u64::from(self.all) * 3
    }
}

/// A count that goes over the services one by one.
#[derive(Clone, Debug, Default)]
pub struct Count {
    full_nat: BTreeMap<Flow, Source>,
    counted: BTreeMap<Towards, SourcePorts>,
}

impl Count {
    /// Begins with what nftables has of FullNAT.
    pub fn new(observed: &Observed) -> Self {
        Self {
            full_nat: Ruleset::of(observed.nftables.table().flatten()).full_nat,
            counted: BTreeMap::new(),
        }
    }

    /// Counts the connections of one service, if any of it is by FullNAT. What cannot be read counts as none.
    pub fn add(&mut self, kernel: &mut impl Kernel, observed: &Observed, key: ServiceKey) {
        let Some(service) = observed.ipvs.table().and_then(|table| table.services.get(&key)) else {
            return;
        };
        let known = |to: &DestinationKey| Some((*to, self.of(key, *to)?));
        let destinations: Vec<_> = service.destinations.keys().filter_map(known).collect();
        if destinations.is_empty() {
            return;
        }
        let activity = kernel.activity(key).unwrap_or_default();
        for (to, (towards, all)) in destinations {
            let used = activity.get(&to).map_or(0, ipvs::Activity::connections);
            let counted = self.counted.entry(towards).or_default();
            counted.used = counted.used.saturating_add(used);
            counted.all = counted.all.max(all);
        }
    }

    /// What the connections of a destination compete for. Nothing where ports are kept, by a service of every port or of a
    /// mark: how many of them go to one port is not known there.
    fn of(&self, key: ServiceKey, to: DestinationKey) -> Option<(Towards, u32)> {
        let flow = Flow::of(key, to);
        let Flow::Port {
            vip: _,
            protocol,
            server,
            port,
        } = flow
        else {
            return None;
        };
        let addresses = match self.full_nat.get(&flow)? {
            Source::Interface => 1,
            Source::Addresses(addresses) => u32::try_from(addresses.len()).unwrap_or(u32::MAX),
            Source::Retired => return None,
        };
        let towards = (protocol, SocketAddr::new(server, port));
        Some((towards, PORTS_OF_ADDRESS.saturating_mul(addresses)))
    }
}

impl Observed {
    /// Takes what was counted. Says whether source ports became low somewhere, or are no longer.
    pub fn learn_source_ports(&mut self, count: Count) -> bool {
        let before = self.low_source_ports();
        self.source_ports = count.counted;
        self.low_source_ports() != before
    }

    /// Where source ports are low.
    pub fn low_source_ports(&self) -> BTreeSet<Towards> {
        let low = self.source_ports.iter().filter(|(_, ports)| ports.are_low());
        low.map(|(towards, _)| *towards).collect()
    }

    /// The greatest share of source ports in use towards any port of a real server, 0 to 1.
    pub fn source_port_share(&self) -> f64 {
        self.source_ports
            .values()
            .map(|ports| ports.share())
            .fold(0.0, f64::max)
    }
}
