//! What the agent says of each Placement, from what it read after the pass. Total, like `plan`.

mod concern;
mod director;
mod firewall;
mod host;
mod source_ports;

pub use concern::Concern;

use std::collections::BTreeMap;

use crds::conditions::{self, BLOCKED_BY_FIREWALL, PROGRAMMED, SOURCE_PORTS_LOW, Verdict, reason};
use crds::{DestinationState, DirectorReport, HostReport, PlacementStatus, PlacementSummary, RouterPart, RouterReport};
use jiff::Timestamp;

use crate::desired::{Desired, Problem};
use crate::kernel::KernelError;
use crate::observed::{GuePorts, Ipvs, Observed};
use crate::plan::{Change, Plan};
use crate::tunnel::Obstacle;
use crate::view::{NotUnderstood, Placed, PlacementKey};

/// What the report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What follows from all that was asked.
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

/// The status of each of these Placements; `former` are the statuses said before, whose transition times are kept.
pub fn report<'a>(
    evidence: Evidence<'_>,
    placements: impl IntoIterator<Item = (&'a PlacementKey, &'a Placed)>,
    former: &BTreeMap<PlacementKey, PlacementStatus>,
    now: Timestamp,
) -> BTreeMap<PlacementKey, PlacementStatus> {
    let status =
        |(key, placed): (&PlacementKey, &Placed)| (key.clone(), evidence.status(key, placed, former.get(key), now));
    placements.into_iter().map(status).collect()
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
            .map(|part| self.director(part, placed));
        let former_host = former
            .filter(|former| former.boot_id.as_deref() == Some(self.boot_id))
            .and_then(|former| former.real_server.as_ref());
        let real_server = placed.spec.real_server.as_ref();
        let real_server = real_server.map(|part| self.host(part, former_host));
        let virtual_router = placed.spec.virtual_router.as_ref();
        let virtual_router = virtual_router.and_then(|part| self.router(part));
        let verdict = self.programmed(key, placed);
        let part = placed.spec.director.as_ref();
        let blocked = part.and_then(|part| self.blocked(part));
        let low = part.and_then(|part| self.source_ports_low(part));
        let summary = summary(director.as_ref(), real_server.as_ref(), virtual_router.as_ref());
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
            virtual_router,
            summary: Some(summary),
            conditions: conditions::settle(
                former.map(|former| former.conditions.as_slice()).unwrap_or_default(),
                [(PROGRAMMED, verdict)]
                    .into_iter()
                    .chain(blocked.map(|verdict| (BLOCKED_BY_FIREWALL, verdict)))
                    .chain(low.map(|verdict| (SOURCE_PORTS_LOW, verdict))),
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
        if concern.unwraps
            && let Some(verdict) = self.unwrapping()
        {
            return verdict;
        }
        if let Some(error) = self.unread(placed, &concern) {
            return Verdict::no(reason_of(&error), error.to_string());
        }
        if let Some((change, error)) = self.refusals.iter().find(|(change, _)| concern.covers(change)) {
            return Verdict::no(reason_of(error), format!("{}: {error}", change.brief()));
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
                format!("{} changes to come, the first: {}", open.len(), first.brief()),
            ),
            None => Verdict::yes(reason::OK, "Read back without difference"),
        }
    }

    /// Why something that the Placement rests on could not be read, or is not there.
    fn unread(self, placed: &Placed, concern: &Concern) -> Option<KernelError> {
        let desired = &self.desired.state;
        let sysctls = self.observed.blind.as_ref().filter(|_| concern.needs_sysctls(desired));
        let timeouts = self.observed.timeouts.as_ref().and_then(|read| read.as_ref().err());
        let timeouts = timeouts.filter(|_| placed.spec.virtual_router.is_some());
        let ruleset = self
            .observed
            .nftables
            .error()
            .filter(|_| concern.needs_ruleset(desired));
        let knob = self.observed.missing_knob(desired);
        let knob = knob.filter(|sysctl| concern.covers_sysctl(sysctl)).cloned();
        let missing = knob.map(|sysctl| KernelError::NoSysctl { sysctl });
        sysctls.or(timeouts).or(ruleset).cloned().or(missing)
    }

    /// What stands in the way of taking packets out of tunnels.
    fn unwrapping(self) -> Option<Verdict> {
        let foreign = |words| Verdict::no(reason::FOREIGN_ENTRY, words);
        let device = self.residue.foreign_tunnels.first();
        let device = device.map(|name| format!("the interface {name} is not of lvs-operator's doing: remove it"));
        let port = self.residue.foreign_ports.first();
        let port = port.map(|port| {
            format!(
                "UDP {port} is used to unwrap something else, not of lvs-operator's doing: remove it with ip fou del, or choose another tunnel.port"
            )
        });
        let unread = match &self.observed.gue_ports {
            GuePorts::Failed(error) => Some(Verdict::no(reason_of(error), error.to_string())),
            GuePorts::Unread | GuePorts::Read(_) => None,
        };
        device.or(port).map(foreign).or(unread)
    }

    /// A membership of which nothing is left is not reported. What the group asks of the node has no name in the kernel:
    /// it is gone when nothing of that kind is to change.
    fn router(self, part: &RouterPart) -> Option<RouterReport> {
        let mut open = self.residue.steps.iter();
        let is_left = !part.withdraw || open.any(|(_, change)| may_be_of_group(change));
        let addresses = self.observed.facts.own_addresses().map(|address| address.to_string());
        is_left.then(|| RouterReport {
            addresses: addresses.take(MOST_ADDRESSES).collect(),
        })
    }
}

/// Whether a change may undo what a DirectorGroup asked for.
fn may_be_of_group(change: &Change) -> bool {
    match change {
        Change::RestoreSysctl { sysctl, value: _ } | Change::SetSysctl { sysctl, value: _ } => !sysctl.is_of_host(),
        Change::SetTimeouts { timeouts: _ } | Change::GrowRuleset(_) | Change::ShrinkRuleset(_) => true,
        Change::AddAddress { key: _, config: _ }
        | Change::DeleteAddress { key: _, config: _ }
        | Change::Ipvs(_)
        | Change::Tunnel(_)
        | Change::Announce { key: _ } => false,
    }
}

/// As many as the schema takes.
const MOST_ADDRESSES: usize = 128;

fn reason_of(error: &KernelError) -> &'static str {
    match error {
        KernelError::ModuleMissing
        | KernelError::NoModule { module: _ }
        | KernelError::SchedulerMissing { scheduler: _ }
        | KernelError::NoSysctl { sysctl: _ }
        | KernelError::ProgramMissing { program: _ }
        | KernelError::RulesetUnsupported { message: _, modules: _ } => reason::MODULE_MISSING,
        KernelError::Unknown | KernelError::Skipped(_) => reason::PENDING,
        KernelError::Refused { errno: _ }
        | KernelError::NoInterface { interface: _ }
        | KernelError::Ruleset { message: _ }
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
        Problem::NoWay(obstacle) => match obstacle {
            Obstacle::NoAddress | Obstacle::NoPort => reason::INVALID,
            Obstacle::NoDirector {
                name: _,
                kind: _,
                local: _,
            }
            | Obstacle::Taken {
                name: _,
                kind: _,
                director: _,
                local: _,
            }
            | Obstacle::Shared {
                name: _,
                kind: _,
                director: _,
            } => reason::FOREIGN_ENTRY,
        },
        Problem::ChecksumsDisagree { address: _ } => reason::INVALID,
        Problem::ServiceTaken { key: _ } => reason::ADDRESS_CONFLICT,
        Problem::NoInterface {
            address: _,
            interface: _,
        }
        | Problem::NoRoute { address: _ }
        | Problem::TimeoutsDisagree => reason::INVALID,
        Problem::BadValue { kind: _, value: _ } => reason::INVALID,
    }
}

fn summary(
    director: Option<&DirectorReport>,
    host: Option<&HostReport>,
    router: Option<&RouterReport>,
) -> PlacementSummary {
    let parts = [
        director.map(|_| "director"),
        host.map(|_| "real server"),
        router.map(|_| "member"),
    ];
    let destinations = director.map(|report| {
        let serving = report
            .real_servers
            .iter()
            .filter(|server| server.state == DestinationState::Serving)
            .count();
        format!("{serving}/{}", report.real_servers.len())
    });
    PlacementSummary {
        parts: parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
        destinations: destinations.unwrap_or_default(),
    }
}
