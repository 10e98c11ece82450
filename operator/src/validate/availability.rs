//! What a service asks for, so that clients are answered while real servers come, fail and go.

use crds::{DirectorPart, Drain, HealthCheck, Quorum, Scheduler, SlowStart, VirtualServiceSpec};

/// Checks, quorum, drain and slow start, as a director's part has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// What real servers must pass that have no checks of their own.
    pub health_checks: Vec<HealthCheck>,
    /// How much weight must be healthy; none = one unit.
    pub quorum: Option<Quorum>,
    /// How long a real server that leaves keeps its connections.
    pub drain: Drain,
    /// How real servers come up; none = with their whole weight.
    pub slow_start: Option<SlowStart>,
}

impl Availability {
    /// Of a spec.
    pub(super) fn of(spec: &VirtualServiceSpec) -> Self {
        Self {
            health_checks: spec
                .health_checks
                .clone()
                .unwrap_or_else(|| vec![HealthCheck::default()]),
            quorum: spec.quorum,
            drain: spec.drain.unwrap_or_else(|| default_drain(spec.scheduler)),
            slow_start: spec.slow_start,
        }
    }

    /// Of what is placed; an operator that knew no drains placed none.
    pub fn placed(part: &DirectorPart) -> Self {
        let scheduler = part.services.first().map(|service| service.scheduler);
        Self {
            health_checks: part.health_checks.clone(),
            quorum: part.quorum,
            drain: part
                .drain
                .unwrap_or_else(|| default_drain(scheduler.unwrap_or_default())),
            slow_start: part.slow_start,
        }
    }
}

/// dh has no fallback: at weight 0 a real server would refuse its share of the clients, so it is cut instead.
fn default_drain(scheduler: Scheduler) -> Drain {
    match scheduler {
        Scheduler::Dh => Drain { timeout_seconds: 0 },
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Sh
        | Scheduler::Mh
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Twos => Drain::default(),
    }
}
