//! Agents that do what they are told, and kernels that hold it.

use super::words::{method, way};
use crds::conditions::{PROGRAMMED, Verdict, reason, settle};
use crds::*;
use jiff::Timestamp;
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
pub(super) struct Machine<'a> {
    pub(super) node: &'a str,
    pub(super) boot: &'a str,
    pub(super) now: Timestamp,
    pub(super) addresses: Vec<String>,
    pub(super) unable: &'a BTreeMap<(String, String, &'static str), String>,
}

impl Machine<'_> {
    /// What an agent reports that has done all it was told, and can do.
    pub(super) fn obeyed(&self, placement: &Placement) -> PlacementStatus {
        let former = placement.status.clone().unwrap_or_default();
        let verdict = Verdict::yes(reason::OK, "read back");
        let router = placement.spec.virtual_router.iter().find(|part| !part.withdraw);
        PlacementStatus {
            observed_generation: placement.metadata.generation,
            boot_id: Some(self.boot.to_owned()),
            director: placement.spec.director.as_ref().map(|part| directed(placement, part)),
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
            let way = crate::validate::way_of_guest(guest);
            let serves = |vip: &&String| crate::validate::serves(&guest.addresses, &way, vip);
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

fn directed(placement: &Placement, part: &DirectorPart) -> DirectorReport {
    let table = table(placement);
    let serves = |entry: &PlacedRealServer| table.iter().any(|sent| entry.addresses.contains(&sent.address));
    let held = part.addresses.iter().filter(|entry| !entry.withdraw);
    DirectorReport {
        addresses: held
            .map(|entry| DirectorAddressReport {
                address: entry.address.clone(),
                role: match entry.address_owner {
                    AddressOwner::Node => Role::Active,
                    AddressOwner::Reserved => Role::Backup,
                },
            })
            .collect(),
        real_servers: part
            .real_servers
            .iter()
            .map(|entry| RealServerReport {
                name: entry.name.clone(),
                addresses: entry.addresses.clone(),
                state: if serves(entry) {
                    DestinationState::Serving
                } else {
                    DestinationState::Unprepared
                },
            })
            .collect(),
    }
}

/// The destinations that the spec asks for.
pub(super) fn table(placement: &Placement) -> BTreeSet<Sent> {
    let mut table = BTreeSet::new();
    for part in placement.spec.director.iter() {
        for entry in &part.real_servers {
            let forwarding = crate::validate::way_of(entry);
            let living = part.addresses.iter().filter(|vip| {
                let serves = crate::validate::serves(&entry.addresses, &forwarding, &vip.address);
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
