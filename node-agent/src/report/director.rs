//! What a director's kernel holds for a Placement.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{DestinationState, DirectorAddressReport, DirectorPart, DirectorReport, RealServerReport, Role};
use ipvs::{Service, ServiceKey};

use super::Evidence;
use crate::desired::keys;
use crate::plan::{Change, vip_of};
use crate::state::AddressKey;

impl<'a> Evidence<'a> {
    pub(super) fn director(self, part: &DirectorPart) -> DirectorReport {
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
            real_servers: self.real_servers(part, &vips, &services),
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
        // A mark says nothing of VIPs: one that is leaving is everybody's, so that no host lets go too early.
        let is_here = |key: &ServiceKey| vip_of(key).is_none_or(|vip| vips.contains(&vip));
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
        part: &DirectorPart,
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
            let of_server = addresses.iter().filter_map(|address| counts.get(address));
            reports.push(RealServerReport {
                name: server.name.clone(),
                addresses: server.addresses.clone(),
                state: of_server.fold(Count::default(), |sum, count| sum.and(*count)).state(),
            });
        }
        reports.extend(strangers.into_iter().map(|address| RealServerReport {
            name: address.to_string(),
            addresses: vec![address.to_string()],
            state: DestinationState::Leaving,
        }));
        reports
    }

    /// The destinations of each real server's address, in all of the part's services.
    fn counts(
        self,
        part: &DirectorPart,
        vips: &BTreeSet<IpAddr>,
        services: &BTreeMap<ServiceKey, &Service>,
    ) -> BTreeMap<IpAddr, Count> {
        let desired = &self.desired.state.ipvs.services;
        let of_part = part.services.iter();
        let named = of_part.flat_map(|service| keys(service, vips.iter().copied()).into_keys());
        let named: BTreeSet<ServiceKey> = named.collect();
        let mut counts: BTreeMap<IpAddr, Count> = BTreeMap::new();
        for (key, service) in named.iter().filter_map(|key| Some((key, desired.get(key)?))) {
            let present = services.get(key);
            for (destination, config) in &service.destinations {
                let count = counts.entry(destination.address).or_default();
                count.wanted += 1;
                let present = present.and_then(|present| present.destinations.get(destination));
                count.missing += usize::from(present != Some(config));
            }
        }
        for (key, service) in services {
            let kept = desired.get(key);
            for destination in service.destinations.keys() {
                let stays = kept.is_some_and(|kept| kept.destinations.contains_key(destination));
                counts.entry(destination.address).or_default().leaving += usize::from(!stays);
            }
        }
        counts
    }
}

/// How many destinations are asked for, how many of these are not there as they should be, and how many are to go.
#[derive(Clone, Copy, Default)]
struct Count {
    wanted: usize,
    missing: usize,
    leaving: usize,
}

impl Count {
    fn and(self, other: Self) -> Self {
        Self {
            wanted: self.wanted + other.wanted,
            missing: self.missing + other.missing,
            leaving: self.leaving + other.leaving,
        }
    }

    fn state(self) -> DestinationState {
        match (self.leaving, self.wanted, self.missing) {
            (1.., _, _) => DestinationState::Leaving,
            (0, 0, _) => DestinationState::Unprepared,
            (0, _, 0) => DestinationState::Serving,
            (0, _, _) => DestinationState::Pending,
        }
    }
}

fn wants(part: &DirectorPart, vip: IpAddr) -> bool {
    let mut entries = part.addresses.iter();
    entries.any(|entry| !entry.withdraw && entry.address.parse() == Ok(vip))
}
