//! What the reports of hosts and directors say, as far as they count.

use super::{View, in_director_spec};
use crate::snapshot::StoredPlacement;
use crds::{HostRealServer, HostRealServerReport, PlacedRealServer, RealServerReport};
use jiff::Timestamp;

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

/// What a director says of a real server's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthFact {
    /// Every check passes, on every port.
    Up,
    /// One does not: the agent's words.
    Down(String),
    /// No check has failed, and one has found out nothing yet, or the director has not said anything of this real server.
    Pending {
        /// Whether new connections are sent there all the same: a check that was just written takes nobody out of service.
        serves: bool,
    },
    /// Nobody can say: the agent is silent.
    Unknown,
}

/// What a director says of a real server that leaves, in the order of how little is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainFact {
    /// Nothing of it is in the table any more.
    Drained,
    /// It keeps its connections, until then at the latest.
    Draining(Option<Timestamp>),
    /// The agent has not said anything of what it is told now.
    Pending,
    /// Nobody can say: the agent is silent.
    Unknown,
}

impl DrainFact {
    /// What counts of what several directors say: who is gone from one may still be in the table of another.
    pub fn slowest(facts: impl Iterator<Item = Self>) -> Option<Self> {
        facts.max()
    }
}

impl View<'_> {
    /// What the director of this Placement says of a real server that its spec has leave.
    pub fn drain_fact(&self, placement: &StoredPlacement, name: &str, addresses: &[String]) -> DrainFact {
        if !self.is_fresh(&placement.spec.node_name) {
            return DrainFact::Unknown;
        }
        if !self.is_settled(placement) {
            return DrainFact::Pending;
        }
        match destination_report(placement, name, addresses) {
            Some(report) if report.state.may_be_in_table() => {
                DrainFact::Draining(report.drains_until.as_ref().map(|until| until.0))
            }
            Some(_) | None => DrainFact::Drained,
        }
    }

    /// Whether the agent of this Placement has worked on the spec as it is now, and nothing of this real server is in the
    /// table.
    pub fn has_let_go(&self, placement: &StoredPlacement, entry: &PlacedRealServer) -> bool {
        let report = destination_report(placement, &entry.name, &entry.addresses);
        self.is_settled(placement) && report.is_none_or(|report| !report.state.may_be_in_table())
    }

    /// Whether the director of this Placement says that it sends new connections to this real server.
    pub fn is_sent_to(&self, placement: &StoredPlacement, name: &str, addresses: &[String]) -> bool {
        let report = destination_report(placement, name, addresses);
        let is_serving = report.is_some_and(|report| report.state.is_serving());
        is_serving && self.counts(placement) && self.is_fresh(&placement.spec.node_name)
    }

    /// What the director of this Placement says of a real server's health.
    pub fn health_fact(&self, placement: &StoredPlacement, name: &str, addresses: &[String]) -> HealthFact {
        if !self.is_fresh(&placement.spec.node_name) {
            return HealthFact::Unknown;
        }
        let report = destination_report(placement, name, addresses).filter(|_| self.counts(placement));
        match report {
            None => HealthFact::Pending { serves: false },
            Some(entry) => match &entry.unhealthy {
                Some(words) => HealthFact::Down(words.clone()),
                None if entry.untested => HealthFact::Pending {
                    serves: entry.state.is_serving(),
                },
                None => HealthFact::Up,
            },
        }
    }

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

/// The last report of a director on this real server.
fn destination_report<'p>(
    placement: &'p StoredPlacement,
    name: &str,
    addresses: &[String],
) -> Option<&'p RealServerReport> {
    let mut all = placement.status.director.iter().flat_map(|report| &report.real_servers);
    all.find(|report| report.name == name && report.addresses == addresses)
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
