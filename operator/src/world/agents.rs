//! Agents that do what they are told, and kernels that hold it.

use super::World;
use super::words::{method, way};
use crate::validate::{serves, way_of, way_of_guest};
use crds::conditions::{PROGRAMMED, Verdict, reason, settle};
use crds::*;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};

/// One destination of a director's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent {
    pub(super) vip: String,
    pub(super) address: String,
    pub(super) node: Option<String>,
    pub(super) way: String,
    pub(super) needs_host: bool,
}

/// A node as its agent sees it.
struct Machine<'a> {
    node: &'a str,
    boot: &'a str,
    now: Timestamp,
    addresses: Vec<String>,
    unable: &'a BTreeMap<(String, String, &'static str), String>,
    down: &'a BTreeSet<String>,
    clinging: &'a BTreeSet<String>,
}

impl World {
    /// Every agent that lives renews its Lease, obeys and reports.
    pub(crate) fn agents(&mut self) {
        for node in self.boots.keys().cloned().collect::<Vec<_>>() {
            if !self.silent.contains(&node) {
                self.agent(&node);
            }
        }
    }

    pub(crate) fn agent(&mut self, node: &str) {
        self.renew(node);
        let machine = Machine {
            node,
            boot: &self.boots[node].clone(),
            now: self.now,
            addresses: self.internal_ips(node),
            unable: &self.unable.clone(),
            down: &self.down.clone(),
            clinging: &self.clinging.clone(),
        };
        for position in 0..self.objects.placements.len() {
            let version = self.next_version();
            let there = &mut self.objects.placements[position];
            if there.spec.node_name != node {
                continue;
            }
            let status = machine.obeyed(there);
            self.kernels.insert(there.name_any(), held(there, &status));
            if there.status.as_ref() != Some(&status) {
                there.status = Some(status);
                there.metadata.resource_version = Some(version.to_string());
            }
        }
    }

    /// A sign of life without a report.
    pub(crate) fn renew(&mut self, node: &str) {
        let name = crds::names::agent_lease(node);
        self.objects.leases.retain(|lease| lease.name_any() != name);
        let mut lease = Lease::default();
        lease.metadata.name = Some(name);
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.boots[node].clone());
        spec.renew_time = Some(MicroTime(self.now));
        self.objects.leases.push(lease);
    }
}

impl Machine<'_> {
    /// What an agent reports that has done all it was told, and can do.
    fn obeyed(&self, placement: &Placement) -> PlacementStatus {
        let former = placement.status.clone().unwrap_or_default();
        let verdict = Verdict::yes(reason::OK, "read back");
        let router = placement.spec.virtual_router.iter().find(|part| !part.withdraw);
        PlacementStatus {
            observed_generation: placement.metadata.generation,
            boot_id: Some(self.boot.to_owned()),
            director: placement
                .spec
                .director
                .as_ref()
                .map(|part| self.directed(placement, part)),
            real_server: placement.spec.real_server.as_ref().map(|part| self.hosted(part)),
            virtual_router: router.map(|_| RouterReport {
                addresses: self.addresses.clone(),
            }),
            summary: None,
            conditions: settle(
                &former.conditions,
                [(PROGRAMMED, verdict)],
                placement.metadata.generation,
                self.now,
            ),
        }
    }

    fn hosted(&self, part: &HostPart) -> HostReport {
        let held = part.addresses.iter().filter(|entry| !entry.withdraw);
        let held: Vec<String> = held.map(|entry| entry.address.clone()).collect();
        let report = |guest: &HostRealServer| {
            let method = method(guest.forwarding_method);
            let message = self
                .unable
                .get(&(self.node.to_owned(), guest.name.clone(), method))
                .cloned();
            let way = way_of_guest(guest);
            let serves = |vip: &&String| serves(&guest.addresses, &way, vip);
            let is_able = guest.forwarding_method.is_host_prepared() && message.is_none();
            HostRealServerReport {
                name: guest.name.clone(),
                prepared: held.iter().filter(|_| is_able).filter(serves).cloned().collect(),
                message,
            }
        };
        HostReport {
            real_servers: part.real_servers.iter().map(report).collect(),
            addresses: held,
        }
    }
}

impl Machine<'_> {
    fn directed(&self, placement: &Placement, part: &DirectorPart) -> DirectorReport {
        let table = table(placement);
        let former = placement
            .status
            .iter()
            .filter(|there| there.boot_id.as_deref() == Some(self.boot));
        let former = former.filter_map(|status| status.director.as_ref()).next();
        let is_in = |entry: &PlacedRealServer| table.iter().any(|sent| entry.addresses.contains(&sent.address));
        let healthy = part
            .real_servers
            .iter()
            .filter(|entry| is_in(entry) && !entry.leaving && !entry.sorry && !self.down.contains(&entry.name));
        let weight: i32 = healthy.map(|entry| entry.weight).sum();
        let minimum = part.quorum.and_then(|quorum| quorum.minimum_weight).unwrap_or(1);
        let below_quorum = weight < minimum;
        let can_take_over = |entry: &PlacedRealServer| is_in(entry) && !entry.leaving && entry.sorry;
        let takes_over = below_quorum && part.real_servers.iter().any(can_take_over);
        let held = part.addresses.iter().filter(|entry| !entry.withdraw);
        let reports = part.real_servers.iter().map(|entry| {
            let (state, drains_until) = match () {
                () if entry.leaving && is_in(entry) => self.left(former, entry, part),
                () if !is_in(entry) => (DestinationState::Unprepared, None),
                () if !entry.sorry && self.down.contains(&entry.name) => (DestinationState::Down, None),
                () if entry.sorry != takes_over => (DestinationState::StandingBy, None),
                () => (DestinationState::Serving, None),
            };
            let fails = self.down.contains(&entry.name) && !entry.sorry;
            RealServerReport {
                name: entry.name.clone(),
                addresses: entry.addresses.clone(),
                state,
                unhealthy: fails.then(|| "connection refused".to_owned()),
                untested: false,
                drains_until,
            }
        });
        DirectorReport {
            real_servers: reports.collect(),
            addresses: held
                .map(|entry| DirectorAddressReport {
                    address: entry.address.clone(),
                    role: match entry.address_owner {
                        AddressOwner::Node => Role::Active,
                        AddressOwner::Reserved => Role::Backup,
                    },
                })
                .collect(),
            below_quorum,
        }
    }

    /// What becomes of a real server that leaves: it keeps those who cling to it until its time is over.
    fn left(
        &self,
        former: Option<&DirectorReport>,
        entry: &PlacedRealServer,
        part: &DirectorPart,
    ) -> (DestinationState, Option<Time>) {
        let mut reports = former.iter().flat_map(|report| &report.real_servers);
        let former = reports.find(|there| there.name == entry.name && there.addresses == entry.addresses);
        let timeout = SignedDuration::from_secs(part.drain.unwrap().timeout_seconds.into());
        let until = former.and_then(|there| there.drains_until.as_ref().map(|until| until.0));
        let until = until.unwrap_or(self.now + timeout);
        let was_in = former.is_some_and(|there| there.state.may_be_in_table());
        if was_in && self.clinging.contains(&entry.name) && self.now < until {
            (DestinationState::Draining, Some(Time(until)))
        } else {
            (DestinationState::Drained, None)
        }
    }
}

/// The destinations that are in the table: those that the spec asks for, without who is out by the agent's own report.
fn held(placement: &Placement, status: &PlacementStatus) -> BTreeSet<Sent> {
    let mut there = placement.clone();
    for part in there.spec.director.iter_mut() {
        let reports = status.director.iter().flat_map(|report| &report.real_servers);
        let out: Vec<&RealServerReport> = reports.filter(|report| !report.state.may_be_in_table()).collect();
        part.real_servers.retain(|entry| {
            let mut out = out.iter();
            !out.any(|report| report.name == entry.name && report.addresses == entry.addresses)
        });
    }
    table(&there)
}

/// The destinations that the spec asks for.
pub(super) fn table(placement: &Placement) -> BTreeSet<Sent> {
    let mut table = BTreeSet::new();
    for part in placement.spec.director.iter() {
        for entry in &part.real_servers {
            let by = way_of(entry);
            let living = part.addresses.iter().filter(|vip| {
                let serves = serves(&entry.addresses, &by, &vip.address);
                !vip.withdraw && serves && entry.prepared.contains(&vip.address)
            });
            for vip in living {
                table.extend(entry.addresses.iter().map(|address| Sent {
                    vip: vip.address.clone(),
                    address: address.clone(),
                    node: entry.node_name.clone(),
                    way: way(entry.forwarding_method, entry.tunnel.as_ref()),
                    needs_host: entry.forwarding_method.is_host_prepared(),
                }));
            }
        }
    }
    table
}
