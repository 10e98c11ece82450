//! Which changes are about which Placement.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crds::{ForwardingMethod, HostPart};
use ipvs::ServiceKey;

use crate::checks;
use crate::desired::{is_for_probes, keys};
use crate::plan::{Change, vip_of};
use crate::ruleset::Transaction;
use crate::state::{KernelState, Sysctl};
use crate::view::Placed;

/// What a Placement is concerned by.
#[derive(Clone, Debug)]
pub struct Concern {
    vips: BTreeSet<IpAddr>,
    marks: BTreeSet<ServiceKey>,
    servers: BTreeSet<IpAddr>,
    is_host: bool,
    /// It has real servers by TUN here.
    pub(super) unwraps: bool,
    is_director: bool,
    is_member: bool,
    /// Real servers are probed by the way of clients' packets.
    is_probed_by_path: bool,
}

impl Concern {
    /// Every VIP that the Placement speaks of; and sysctls, when it has a host part.
    pub fn of(placed: &Placed) -> Self {
        let director = placed
            .spec
            .director
            .iter()
            .flat_map(|part| part.addresses.iter().map(|entry| &entry.address));
        let host = placed
            .spec
            .real_server
            .iter()
            .flat_map(|part| part.addresses.iter().map(|entry| &entry.address));
        let sources = placed
            .spec
            .director
            .iter()
            .flat_map(|part| &part.full_nat_source_addresses);
        let vips = director.chain(host).chain(sources).filter_map(|text| text.parse().ok());
        let vips: BTreeSet<IpAddr> = vips.collect();
        let services = placed.spec.director.iter().flat_map(|part| &part.services);
        let keys = services.flat_map(|service| keys(service, vips.iter().copied()));
        let servers = placed.spec.director.iter().flat_map(|part| &part.real_servers);
        let servers = servers.flat_map(|server| &server.addresses);
        let is_mark = |key: &ServiceKey| vip_of(key).is_none();
        Self {
            marks: keys.map(|(key, _)| key).filter(is_mark).collect(),
            servers: servers.filter_map(|text| text.parse().ok()).collect(),
            vips,
            is_host: placed.spec.real_server.is_some(),
            unwraps: placed.spec.real_server.iter().any(unwraps),
            is_director: placed.spec.director.is_some(),
            is_member: placed.spec.virtual_router.is_some(),
            is_probed_by_path: !checks::ways(&placed.spec).is_empty(),
        }
    }

    /// Whether anything that the Placement asks for rests on sysctls.
    pub(super) fn needs_sysctls(&self, desired: &KernelState) -> bool {
        desired.sysctls.keys().any(|sysctl| self.covers_sysctl(sysctl))
    }

    /// Whether anything that the Placement asks for rests on nftables.
    pub(super) fn needs_ruleset(&self, desired: &KernelState) -> bool {
        let ruleset = &desired.ruleset;
        self.vips.iter().any(|vip| ruleset.concerns(*vip)) || (self.is_member && !ruleset.masquerade.is_empty())
    }

    /// Elements name their VIPs and real servers. Rules are the node's: they concern everybody who has any.
    fn covers_transaction(&self, transaction: &Transaction) -> bool {
        let named = transaction.addresses();
        let is_named = self.vips.union(&self.servers).any(|address| named.contains(address));
        let has_rules = self.is_director || self.is_member || self.unwraps;
        is_named || (!transaction.is_elements_only() && has_rules)
    }

    /// Sysctls are the node's: they concern every Placement of the kind that asks for them.
    pub(super) fn covers_sysctl(&self, sysctl: &Sysctl) -> bool {
        match sysctl.is_of_host() {
            true => self.is_host,
            false => self.is_director || self.is_member,
        }
    }

    /// Whether a change is about the Placement.
    pub fn covers(&self, change: &Change) -> bool {
        match change {
            Change::SetSysctl { sysctl, value: _ } => self.covers_sysctl(sysctl),
            Change::SetTimeouts { timeouts: _ } => self.is_member,
            Change::RestoreSysctl { sysctl: _, value: _ } => false,
            Change::AddAddress { key, config: _ }
            | Change::DeleteAddress { key, config: _ }
            | Change::Announce { key } => self.vips.contains(&key.address),
            Change::Ipvs(change) => self.covers_service(&change.service()),
            Change::Tunnel(_) => self.unwraps,
            Change::GrowRuleset(transaction) | Change::ShrinkRuleset(transaction) => {
                self.covers_transaction(transaction)
            }
        }
    }

    pub(super) fn covers_service(&self, key: &ServiceKey) -> bool {
        match vip_of(key) {
            Some(vip) => self.vips.contains(&vip),
            // Which of these steers whose probes is decided among all Placements.
            None if is_for_probes(key) => self.is_probed_by_path,
            None => self.marks.contains(key),
        }
    }
}

fn unwraps(part: &HostPart) -> bool {
    part.real_servers
        .iter()
        .any(|server| server.forwarding_method == ForwardingMethod::TUN)
}
