//! What the agent says of each Placement, from what it read after the pass. Total, like `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::conditions::{self, PROGRAMMED, Verdict, reason};
use crds::{
    DestinationState, DirectorAddressReport, DirectorPart, DirectorReport, HostAddressReport, HostPart, HostReport,
    HostState, PlacementStatus, PlacementSummary, RealServerReport, Role,
};
use ipvs::{DestinationKey, Service, ServiceKey};
use jiff::Timestamp;

use crate::desired::{Desired, Problem, service_key};
use crate::kernel::KernelError;
use crate::observed::{Ipvs, Observed};
use crate::plan::{Change, Plan, vip_of};
use crate::state::{AddressKey, KNOBS, KernelState, LOOPBACK, Sysctl};
use crate::view::{NotUnderstood, Placed, PlacementKey, View};

/// What the report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What was asked.
    pub view: &'a View,
    /// What follows from it.
    pub desired: &'a Desired,
    /// What was read after the pass.
    pub observed: &'a Observed,
    /// What differs still.
    pub residue: &'a Plan,
    /// What the kernel refused in this pass.
    pub refusals: &'a [(Change, KernelError)],
    /// This boot.
    pub boot_id: &'a str,
}

/// The status of every Placement; `former` are the statuses said before, whose transition times are kept.
pub fn report(
    evidence: Evidence<'_>,
    former: &BTreeMap<PlacementKey, PlacementStatus>,
    now: Timestamp,
) -> BTreeMap<PlacementKey, PlacementStatus> {
    let status =
        |(key, placed): (&PlacementKey, &Placed)| (key.clone(), evidence.status(key, placed, former.get(key), now));
    evidence.view.placements.iter().map(status).collect()
}

impl<'a> Evidence<'a> {
    fn status(
        self,
        key: &PlacementKey,
        placed: &Placed,
        former: Option<&PlacementStatus>,
        now: Timestamp,
    ) -> PlacementStatus {
        // A table that could not be read says nothing: the generation is not observed, and nobody concludes anything.
        let blind = match &self.observed.ipvs {
            Ipvs::Read(_) | Ipvs::Failed(KernelError::ModuleMissing) => false,
            Ipvs::Unread | Ipvs::Failed(_) => placed.spec.director.is_some(),
        };
        let director = placed
            .spec
            .director
            .as_ref()
            .filter(|_| !blind)
            .map(|part| self.director(part));
        let former_host = former
            .filter(|former| former.boot_id.as_deref() == Some(self.boot_id))
            .and_then(|former| former.real_server.as_ref());
        let real_server = placed.spec.real_server.as_ref();
        let real_server = real_server.map(|part| self.host(part, former_host));
        let verdict = self.programmed(key, placed);
        let summary = summary(director.as_ref(), real_server.as_ref());
        // What was not understood is said of the spec that it is in; what was done, of the last good one.
        let seen = placed
            .not_understood
            .as_ref()
            .map_or(placed.generation, |later| later.generation);
        PlacementStatus {
            observed_generation: (!blind).then_some(placed.generation),
            boot_id: Some(self.boot_id.to_owned()),
            director,
            real_server,
            summary: Some(summary),
            conditions: conditions::settle(
                former.map(|former| former.conditions.as_slice()).unwrap_or_default(),
                [(PROGRAMMED, verdict)],
                Some(seen),
                now,
            ),
        }
    }

    fn programmed(self, key: &PlacementKey, placed: &Placed) -> Verdict {
        if let Some(NotUnderstood { generation: _, words }) = &placed.not_understood {
            return Verdict::no(
                reason::UNKNOWN_FIELD,
                format!(
                    "{words}: this agent does not know it; the last spec that it understood stays. Upgrade lvs-agent"
                ),
            );
        }
        if let Some(problem) = self.desired.problems.get(key).and_then(|problems| problems.first()) {
            return Verdict::no(reason_of_problem(problem), problem.to_string());
        }
        let concern = Concern::of(placed);
        if placed.spec.director.is_some()
            && let Ipvs::Failed(error) = &self.observed.ipvs
        {
            return Verdict::no(reason_of(error), error.to_string());
        }
        if let Some(service) = self.residue.foreign.iter().find(|key| concern.covers_service(key)) {
            return Verdict::no(
                reason::FOREIGN_ENTRY,
                format!(
                    "{service} is in the IPVS table already and not of lvs-operator's doing: remove it with ipvsadm -D, or choose another VIP or port"
                ),
            );
        }
        if placed.spec.real_server.is_some()
            && let Some(error) = &self.observed.blind
        {
            return Verdict::no(reason_of(error), error.to_string());
        }
        if let Some((change, error)) = self.refusals.iter().find(|(change, _)| concern.covers(change)) {
            return Verdict::no(reason_of(error), format!("{change}: {error}"));
        }
        let open: Vec<&Change> = self
            .residue
            .steps
            .iter()
            .map(|(_, change)| change)
            .filter(|change| concern.covers(change))
            .collect();
        match open.first() {
            Some(first) => Verdict::no(
                reason::PENDING,
                format!("{} changes to come, the first: {first}", open.len()),
            ),
            None => Verdict::yes(reason::OK, "Read back without difference"),
        }
    }

    fn director(self, part: &DirectorPart) -> DirectorReport {
        let vips: BTreeSet<IpAddr> = part
            .addresses
            .iter()
            .filter_map(|entry| entry.address.parse().ok())
            .collect();
        let services = self.services_of(part, &vips);
        let address = |vip: &IpAddr| {
            let here = |key: &&AddressKey| key.address == *vip && key.interface != LOOPBACK;
            let held = self.observed.addresses.keys().find(here);
            let wanted = part
                .addresses
                .iter()
                .any(|entry| !entry.withdraw && entry.address.parse() == Ok(*vip));
            // Another VirtualService's address on the same VIP is not this one's.
            let ours = held.filter(|key| wanted || !self.desired.state.addresses.contains_key(*key));
            let role = match ours {
                Some(_) => Role::Active,
                None if services.keys().any(|key| vip_of(key) == Some(*vip)) => Role::Backup,
                None => return None,
            };
            Some(DirectorAddressReport {
                address: vip.to_string(),
                role,
            })
        };
        DirectorReport {
            addresses: vips.iter().filter_map(address).collect(),
            real_servers: self.real_servers(part, &services),
        }
    }

    /// Services in the kernel that are this part's: those it names, and those on its VIPs that nobody wants any more.
    fn services_of(self, part: &DirectorPart, vips: &BTreeSet<IpAddr>) -> BTreeMap<ServiceKey, &'a Service> {
        let wants = |vip: &IpAddr| {
            part.addresses
                .iter()
                .any(|entry| !entry.withdraw && entry.address.parse() == Ok(*vip))
        };
        let named: BTreeSet<ServiceKey> = vips
            .iter()
            .flat_map(|vip| part.services.iter().map(move |service| (vip, service)))
            .filter_map(|(vip, service)| Some((vip, service_key(service, *vip, u16::try_from(service.port).ok()?))))
            // What this part gives back, and another Placement asks for, is the other's.
            .filter(|(vip, key)| wants(vip) || !self.desired.state.ipvs.services.contains_key(key))
            .map(|(_, key)| key)
            .collect();
        let leaving = |key: &ServiceKey| {
            let deleted = Change::Ipvs(ipvs::Change::DeleteService { service: *key });
            vip_of(key).is_some_and(|vip| vips.contains(&vip)) && self.residue.steps.iter().any(|(_, c)| *c == deleted)
        };
        let table = self.observed.ipvs.table().into_iter().flat_map(|table| &table.services);
        table
            .filter(|(key, _)| !self.residue.foreign.contains(*key) && (named.contains(*key) || leaving(key)))
            .map(|(key, service)| (*key, service))
            .collect()
    }

    fn real_servers(self, part: &DirectorPart, services: &BTreeMap<ServiceKey, &Service>) -> Vec<RealServerReport> {
        let mut strangers: BTreeSet<IpAddr> = services
            .values()
            .flat_map(|service| service.destinations.keys().map(|key| key.address))
            .collect();
        let mut reports = Vec::new();
        for server in &part.real_servers {
            let addresses: BTreeSet<IpAddr> = server.addresses.iter().filter_map(|text| text.parse().ok()).collect();
            strangers.retain(|address| !addresses.contains(address));
            reports.push(RealServerReport {
                name: server.name.clone(),
                addresses: server.addresses.clone(),
                state: destination_state(&self.desired.state, part, &addresses, services),
            });
        }
        reports.extend(strangers.into_iter().map(|address| RealServerReport {
            name: address.to_string(),
            addresses: vec![address.to_string()],
            state: DestinationState::Leaving,
        }));
        reports
    }

    fn host(self, part: &HostPart, former: Option<&HostReport>) -> HostReport {
        // Where the knobs cannot be read, what was proven before is not refuted.
        let is_silent = |address: &str| match &self.observed.blind {
            None => self.is_silent(),
            Some(_) => former.is_some_and(|former| {
                let mut said = former.addresses.iter();
                said.any(|said| said.address == address && said.state == HostState::Prepared)
            }),
        };
        let address = |entry: &crds::HostAddress| {
            let vip: IpAddr = entry.address.parse().ok()?;
            let mut held = self.observed.addresses.keys().filter(|key| key.address == vip);
            let wanted = |key: &AddressKey| self.desired.state.addresses.contains_key(key);
            let state = match entry.withdraw {
                true if !held.any(|key| key.interface == LOOPBACK && !wanted(key)) => return None,
                false if held.any(wanted) && (vip.is_ipv6() || is_silent(&entry.address)) => HostState::Prepared,
                true | false => HostState::Unprepared,
            };
            Some(HostAddressReport {
                address: entry.address.clone(),
                state,
            })
        };
        HostReport {
            addresses: part.addresses.iter().filter_map(address).collect(),
        }
    }

    /// Whether no interface answers ARP for an address that is on `lo` only.
    fn is_silent(self) -> bool {
        let listening = self
            .observed
            .facts
            .interfaces
            .iter()
            .filter(|(_, interface)| interface.can_receive_arp());
        listening
            .flat_map(|(name, _)| {
                KNOBS.map(|knob| Sysctl {
                    interface: name.clone(),
                    knob,
                })
            })
            .all(|sysctl| {
                self.observed
                    .effective(&sysctl)
                    .is_some_and(|effective| effective >= sysctl.knob.silent())
            })
    }
}

fn destination_state(
    desired: &KernelState,
    part: &DirectorPart,
    addresses: &BTreeSet<IpAddr>,
    services: &BTreeMap<ServiceKey, &Service>,
) -> DestinationState {
    let is_server = |key: &&DestinationKey| addresses.contains(&key.address);
    let (mut wanted, mut missing, mut leaving) = (0, 0, 0);
    let vips: BTreeSet<IpAddr> = part
        .addresses
        .iter()
        .filter_map(|entry| entry.address.parse().ok())
        .collect();
    for (key, service) in desired
        .ipvs
        .services
        .iter()
        .filter(|(key, _)| vip_of(key).is_some_and(|v| vips.contains(&v)))
    {
        if !part.services.iter().any(|s| named(key, s)) {
            continue;
        }
        for destination in service.destinations.keys().filter(is_server) {
            wanted += 1;
            let present = services
                .get(key)
                .and_then(|present| present.destinations.get(destination));
            missing += usize::from(present != service.destinations.get(destination));
        }
    }
    for (key, service) in services {
        let kept = desired.ipvs.services.get(key);
        let goes =
            |destination: &&DestinationKey| !kept.is_some_and(|kept| kept.destinations.contains_key(*destination));
        leaving += service.destinations.keys().filter(is_server).filter(goes).count();
    }
    match (leaving, wanted, missing) {
        (1.., _, _) => DestinationState::Leaving,
        (0, 0, _) => DestinationState::Unprepared,
        (0, _, 0) => DestinationState::Serving,
        (0, _, _) => DestinationState::Pending,
    }
}

fn named(key: &ServiceKey, service: &crds::PlacedService) -> bool {
    vip_of(key)
        .zip(u16::try_from(service.port).ok())
        .is_some_and(|(vip, port)| *key == service_key(service, vip, port))
}

/// What a Placement is concerned by.
#[derive(Clone, Debug)]
pub struct Concern {
    vips: BTreeSet<IpAddr>,
    is_host: bool,
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
        let vips = director.chain(host).filter_map(|text| text.parse().ok()).collect();
        Self {
            vips,
            is_host: placed.spec.real_server.is_some(),
        }
    }

    /// Whether a change is about the Placement.
    pub fn covers(&self, change: &Change) -> bool {
        match change {
            Change::SetSysctl { sysctl: _, value: _ } => self.is_host,
            Change::RestoreSysctl { sysctl: _, value: _ } => false,
            Change::AddAddress { key, config: _ }
            | Change::DeleteAddress { key, config: _ }
            | Change::Announce { key } => self.vips.contains(&key.address),
            Change::Ipvs(change) => self.covers_service(&change.service()),
        }
    }

    fn covers_service(&self, key: &ServiceKey) -> bool {
        vip_of(key).is_some_and(|vip| self.vips.contains(&vip))
    }
}

fn reason_of(error: &KernelError) -> &'static str {
    match error {
        KernelError::ModuleMissing | KernelError::SchedulerMissing { scheduler: _ } => reason::MODULE_MISSING,
        KernelError::Unknown | KernelError::Skipped(_) => reason::PENDING,
        KernelError::Refused { errno: _ }
        | KernelError::NoInterface { interface: _ }
        | KernelError::File { path: _, reason: _ }
        | KernelError::Io(_) => reason::KERNEL_REFUSED,
    }
}

fn reason_of_problem(problem: &Problem) -> &'static str {
    match problem {
        Problem::AddressOfHost {
            address: _,
            interface: _,
        }
        | Problem::Answered { address: _ } => reason::ADDRESS_IN_USE,
        Problem::ServiceTaken { key: _ } => reason::ADDRESS_CONFLICT,
        Problem::NoInterface {
            address: _,
            interface: _,
        }
        | Problem::NoRoute { address: _ } => reason::INVALID,
        Problem::BadValue { kind: _, value: _ } => reason::INVALID,
    }
}

fn summary(director: Option<&DirectorReport>, host: Option<&HostReport>) -> PlacementSummary {
    let parts = match (director, host) {
        (Some(_), Some(_)) => "director, real server",
        (Some(_), None) => "director",
        (None, Some(_)) => "real server",
        (None, None) => "",
    };
    let destinations = director.map(|report| {
        let serving = report
            .real_servers
            .iter()
            .filter(|server| server.state == DestinationState::Serving)
            .count();
        format!("{serving}/{}", report.real_servers.len())
    });
    PlacementSummary {
        parts: parts.to_owned(),
        destinations: destinations.unwrap_or_default(),
    }
}
