//! What a director's kernel holds for a Placement.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{
    DestinationState, DirectorAddressReport, DirectorPart, DirectorReport, PlacedRealServer, RealServerReport, Role,
};
use ipvs::{DestinationKey, Service, ServiceKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Evidence;
use crate::desired::{destination_port, is_for_probes, keys};
use crate::plan::{Change, vip_of};
use crate::serving::Serving;
use crate::state::AddressKey;
use crate::view::Placed;

impl<'a> Evidence<'a> {
    pub(super) fn director(self, part: &DirectorPart, placed: &Placed) -> DirectorReport {
        let vips: BTreeSet<IpAddr> = part
            .addresses
            .iter()
            .filter_map(|entry| entry.address.parse().ok())
            .collect();
        let services = self.services_of(part, &vips);
        let of_vip = |vip: IpAddr| services.keys().any(|key| self.is_on(part, key, vip));
        let address = |vip: &IpAddr| {
            let mut held = AddressKey::all_of(&self.observed.addresses, *vip);
            let held = held.find(|key| !key.is_of_host());
            let wanted = wants(part, *vip);
            // Another VirtualService's address on the same VIP is not this one's.
            let ours = held.filter(|key| wanted || !self.desired.state.addresses.contains_key(*key));
            let role = match ours {
                Some(_) => Role::Active,
                None if of_vip(*vip) => Role::Backup,
                None => return None,
            };
            Some(DirectorAddressReport {
                address: vip.to_string(),
                role,
            })
        };
        DirectorReport {
            addresses: vips.iter().filter_map(address).collect(),
            real_servers: self.real_servers((part, placed), &vips, &services),
            below_quorum: placed.serving.below_quorum,
        }
    }

    /// Services in the kernel that are this part's: those it names, and those on its VIPs that nobody wants any more.
    fn services_of(self, part: &DirectorPart, vips: &BTreeSet<IpAddr>) -> BTreeMap<ServiceKey, &'a Service> {
        let Some(table) = self.observed.ipvs.table() else {
            return BTreeMap::new();
        };
        let named = part
            .services
            .iter()
            .flat_map(|service| keys(service, vips.iter().copied()))
            // What this part gives back, and another Placement asks for, is the other's.
            .filter(|(key, of)| {
                of.iter().any(|vip| wants(part, *vip)) || !self.desired.state.ipvs.services.contains_key(key)
            })
            .map(|(key, _)| key);
        // A mark says nothing of VIPs: one that is leaving is everybody's, so that no host lets go too early. No client
        // comes by those of probes.
        let is_here = |key: &ServiceKey| vip_of(key).map_or_else(|| !is_for_probes(key), |vip| vips.contains(&vip));
        let leaving = self.residue.deleted_services().filter(is_here);
        named
            .chain(leaving)
            .filter(|key| !self.residue.foreign.contains(key))
            .filter_map(|key| Some((key, table.services.get(&key)?)))
            .collect()
    }

    /// Whether a service takes packets to this VIP: its own, or any of its family when a mark selects them.
    fn is_on(self, part: &DirectorPart, key: &ServiceKey, vip: IpAddr) -> bool {
        if let Some(own) = vip_of(key) {
            return own == vip;
        }
        let mut services = part.services.iter();
        let selects = services.any(|service| keys(service, std::iter::once(vip)).contains_key(key));
        let stays = self.desired.state.ipvs.services.contains_key(key);
        selects && (wants(part, vip) || !stays || self.may_be_marked())
    }

    /// Whether packets to a VIP that was taken back may have a mark of ours still. A mark's service goes on for other VIPs,
    /// and says nothing of this one.
    fn may_be_marked(self) -> bool {
        let is_ruleset = |change: &Change| matches!(change, Change::GrowRuleset(_) | Change::ShrinkRuleset(_));
        let mut open = self.residue.steps.iter();
        self.observed.nftables.error().is_some() || open.any(|(_, change)| is_ruleset(change))
    }

    fn real_servers(
        self,
        (part, placed): (&DirectorPart, &Placed),
        vips: &BTreeSet<IpAddr>,
        services: &BTreeMap<ServiceKey, &Service>,
    ) -> Vec<RealServerReport> {
        let mut strangers: BTreeSet<IpAddr> = services
            .values()
            .flat_map(|service| service.destinations.keys().map(|key| key.address))
            .collect();
        let counts = self.counts(part, vips, services);
        let mut reports = Vec::new();
        for server in &part.real_servers {
            let addresses: BTreeSet<IpAddr> = server.addresses.iter().filter_map(|text| text.parse().ok()).collect();
            strangers.retain(|address| !addresses.contains(address));
            let count = counts.of(server, &addresses);
            let down = placed.down.iter().filter(|((name, _, _), _)| *name == server.name);
            let unhealthy = down.clone().find(|(_, down)| down.tested);
            let is_down = down.count() > 0;
            let drains_until = placed.serving.drains.get(&server.name);
            reports.push(RealServerReport {
                name: server.name.clone(),
                addresses: server.addresses.clone(),
                state: count.state(&Standing::of(server, &placed.serving, is_down)),
                drains_until: drains_until.map(|until| Time(*until)),
                unhealthy: unhealthy.map(|(_, down)| down.words.clone()),
                untested: placed.untested.contains(&server.name),
            });
        }
        reports.extend(strangers.into_iter().map(|address| RealServerReport {
            name: address.to_string(),
            addresses: vec![address.to_string()],
            state: DestinationState::Leaving,
            unhealthy: None,
            untested: false,
            drains_until: None,
        }));
        reports
    }

    /// The destinations of the part's real servers, in all of its services.
    fn counts<'p>(
        self,
        part: &'p DirectorPart,
        vips: &BTreeSet<IpAddr>,
        services: &BTreeMap<ServiceKey, &Service>,
    ) -> Counts<'p> {
        let desired = &self.desired.state.ipvs.services;
        let mut counts = Counts {
            part,
            of_destinations: BTreeMap::new(),
        };
        let of_part = part.services.iter();
        let named = of_part.flat_map(|service| keys(service, vips.iter().copied()).into_keys());
        let named: BTreeSet<ServiceKey> = named.collect();
        for (key, service) in named.iter().filter_map(|key| Some((key, desired.get(key)?))) {
            let present = services.get(key);
            for (destination, config) in &service.destinations {
                let count = counts.of_destinations.entry(*destination).or_default();
                count.wanted += 1;
                count.taking += usize::from(config.weight > 0);
                let present = present.and_then(|present| present.destinations.get(destination));
                count.missing += usize::from(present != Some(config));
            }
        }
        for (key, service) in services {
            let kept = desired.get(key);
            for destination in service.destinations.keys() {
                let stays = kept.is_some_and(|kept| kept.destinations.contains_key(destination));
                let count = counts.of_destinations.entry(*destination).or_default();
                count.leaving += usize::from(!stays);
            }
        }
        counts
    }
}

/// What there is of each destination: two real servers may share an address, each with a port of its own.
struct Counts<'p> {
    part: &'p DirectorPart,
    of_destinations: BTreeMap<DestinationKey, Count>,
}

impl Counts<'_> {
    /// Of one real server; and of what is still there at a port that is nobody's any more, of everybody with that address.
    fn of(&self, server: &PlacedRealServer, addresses: &BTreeSet<IpAddr>) -> Count {
        let ports = |address: &IpAddr| DestinationKey::new(*address, 0)..=DestinationKey::new(*address, u16::MAX);
        let all = addresses
            .iter()
            .flat_map(|address| self.of_destinations.range(ports(address)));
        let of_server = all.filter(|(destination, count)| {
            self.is_of(server, destination) || (count.wanted == 0 && self.is_nobodys(destination))
        });
        of_server.fold(Count::default(), |sum, (_, count)| sum.and(*count))
    }

    /// Whether a service sends to a real server there, of which the address is known to be one.
    fn is_of(&self, server: &PlacedRealServer, destination: &DestinationKey) -> bool {
        let mut services = self.part.services.iter();
        services.any(|service| destination_port(server, service) == Ok(destination.port))
    }

    fn is_nobodys(&self, destination: &DestinationKey) -> bool {
        let has_address = |server: &&PlacedRealServer| {
            let mut addresses = server.addresses.iter();
            addresses.any(|text| text.parse() == Ok(destination.address))
        };
        let mut there = self.part.real_servers.iter().filter(has_address);
        !there.any(|server| self.is_of(server, destination))
    }
}

/// How many destinations are asked for, how many of these are not there as they should be, and how many are to go.
#[derive(Clone, Copy, Default)]
struct Count {
    wanted: usize,
    /// Of these, such as take new connections.
    taking: usize,
    missing: usize,
    leaving: usize,
}

impl Count {
    fn and(self, other: Self) -> Self {
        Self {
            wanted: self.wanted + other.wanted,
            taking: self.taking + other.taking,
            missing: self.missing + other.missing,
            leaving: self.leaving + other.leaving,
        }
    }

    fn state(self, standing: &Standing) -> DestinationState {
        let Standing { resting, active } = standing;
        match (self.leaving, self.wanted, self.missing) {
            (1.., _, _) => DestinationState::Leaving,
            (0, 0, _) => *resting,
            (0, _, 0) if self.taking == 0 && *resting == DestinationState::Down => DestinationState::Down,
            (0, _, 0) => *active,
            (0, _, _) => DestinationState::Pending,
        }
    }
}

/// What a real server is, by what is made of it: where nothing of it is in the table, and where something is.
struct Standing {
    resting: DestinationState,
    active: DestinationState,
}

impl Standing {
    fn of(server: &PlacedRealServer, serving: &Serving, is_down: bool) -> Self {
        let Serving {
            fates: _,
            drains,
            rising,
            standing_by,
            below_quorum: _,
        } = serving;
        let is_prepared = !server.prepared.is_empty();
        let resting = match server {
            PlacedRealServer { leaving: true, .. } => DestinationState::Drained,
            _ if is_down && is_prepared => DestinationState::Down,
            _ if standing_by.contains(&server.name) => DestinationState::StandingBy,
            _ => DestinationState::Unprepared,
        };
        let active = match &server.name {
            name if drains.contains_key(name) => DestinationState::Draining,
            name if rising.contains(name) => DestinationState::SlowStart,
            _ => DestinationState::Serving,
        };
        Self { resting, active }
    }
}

fn wants(part: &DirectorPart, vip: IpAddr) -> bool {
    let mut entries = part.addresses.iter();
    entries.any(|entry| !entry.withdraw && entry.address.parse() == Ok(vip))
}
