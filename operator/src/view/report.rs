//! What the reports of hosts and directors say, as far as they count.

use super::{View, in_director_spec};
use crate::snapshot::StoredPlacement;
use crds::{HostRealServer, HostRealServerReport};

/// What is known of a VIP on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFact {
    /// Its agent, alive and in this boot, has read back all that the real server's way needs.
    Prepared,
    /// Its agent says no, or the boot that said yes has ended.
    Unprepared,
    /// Nobody can say: the agent is silent. What was said last stands.
    Unknown,
}

impl View<'_> {
    /// The own addresses of a director, from which it speaks to real servers: as its agent reports them for this group,
    /// else its Node's. Never a VIP.
    pub fn director_addresses(&self, group: Option<&str>, node: &str) -> Vec<String> {
        let placement = group.and_then(|group| self.group_placement(group, node));
        let report = placement
            .filter(|placement| self.counts(placement))
            .and_then(|placement| placement.status.virtual_router.as_ref())
            .filter(|report| !report.addresses.is_empty());
        let mut addresses: Vec<String> = match report {
            Some(report) => report.addresses.clone(),
            None => {
                let facts = self.snapshot.nodes.get(node).into_iter();
                facts
                    .flat_map(|facts| &facts.internal_ips)
                    .map(ToString::to_string)
                    .collect()
            }
        };
        addresses.retain(|address| {
            !self
                .carriers(address)
                .iter()
                .any(|carrier| in_director_spec(carrier, address))
        });
        addresses
    }

    /// What is known of a VIP for a real server on the host whose Placement this is, reached in the way that `guest` says.
    pub fn host_fact(
        &self,
        node: &str,
        placement: Option<&StoredPlacement>,
        guest: &HostRealServer,
        address: &str,
    ) -> HostFact {
        let Some(placement) = placement else {
            return self.if_fresh(node, HostFact::Unprepared);
        };
        let boot = self.lease(node).and_then(|lease| lease.boot_id.as_deref());
        if boot.is_some() && placement.status.boot_id.is_some() && !self.counts(placement) {
            // Another boot than the one that reported: what it prepared is gone, whoever may be silent now.
            return HostFact::Unprepared;
        }
        let said = host_reports(placement, guest);
        let is_prepared = |said: &&HostRealServerReport| said.prepared.iter().any(|prepared| prepared == address);
        if !said.is_empty() && said.iter().all(is_prepared) {
            self.if_fresh(node, HostFact::Prepared)
        } else {
            self.if_fresh(node, HostFact::Unprepared)
        }
    }

    fn if_fresh(&self, node: &str, fact: HostFact) -> HostFact {
        if self.is_fresh(node) { fact } else { HostFact::Unknown }
    }
}

/// What the host's agent says of this real server in this way. The report has an entry for each of the spec's, in their
/// order; one about an earlier spec, of another length, counts whole.
pub fn host_reports<'p>(placement: &'p StoredPlacement, guest: &HostRealServer) -> Vec<&'p HostRealServerReport> {
    let same_name = |name: &str| name == guest.name;
    let spec = placement.spec.real_server.iter().flat_map(|part| &part.real_servers);
    let spec: Vec<&HostRealServer> = spec.filter(|there| same_name(&there.name)).collect();
    let report = placement
        .status
        .real_server
        .iter()
        .flat_map(|report| &report.real_servers);
    let report: Vec<&HostRealServerReport> = report.filter(|there| same_name(&there.name)).collect();
    match spec.iter().position(|there| is_same_guest(there, guest)) {
        Some(position) if spec.len() == report.len() => vec![report[position]],
        Some(_) | None => report,
    }
}

/// Whether two entries of host parts are one real server, reached in one way.
pub fn is_same_guest(a: &HostRealServer, b: &HostRealServer) -> bool {
    a.name == b.name && a.addresses == b.addresses && a.forwarding_method == b.forwarding_method && a.tunnel == b.tunnel
}
