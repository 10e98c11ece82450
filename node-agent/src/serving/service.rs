//! The step of one IPVS service.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crds::{DirectorPart, OnFailure, PlacedRealServer, PlacedService};
use health::{Decision, Moment, Quorum, QuorumState, Ramp, SlowStart, SorryServer};
use ipvs::{DestinationConfig, ServiceKey};

use super::course::{Course, Leave, Leaving};
use super::{Circumstances, Fate, Place, Step};
use crate::checks::{Downs, on_failure};
use crate::desired::destinations;

/// A step that goes over a part's services one by one.
pub(super) struct Judge<'a> {
    part: &'a DirectorPart,
    down: &'a Downs,
    former: &'a Course,
    circumstances: Circumstances<'a>,
    step: Step,
}

/// A destination that the spec asks for.
struct Candidate<'a> {
    server: &'a PlacedRealServer,
    place: Place,
    config: DestinationConfig,
}

/// What is to become of it, whatever it is now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    In,
    /// At weight 0 as long as it has connections.
    Leave,
    Out,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        part: &'a DirectorPart,
        down: &'a Downs,
        former: &'a Course,
        circumstances: Circumstances<'a>,
    ) -> Self {
        Self {
            part,
            down,
            former,
            circumstances,
            step: Step::default(),
        }
    }

    pub(super) fn step(self) -> Step {
        self.step
    }

    pub(super) fn service(&mut self, key: ServiceKey, placed: &PlacedService, vips: &BTreeSet<IpAddr>) {
        let candidates = self.candidates(key, placed, vips);
        let mut aims: Vec<Aim> = candidates.iter().map(|candidate| self.aim(candidate, vips)).collect();
        self.choose(key, &candidates, &mut aims);
        let mut serving = Vec::new();
        for (candidate, aim) in candidates.iter().zip(aims) {
            match aim {
                Aim::In => serving.push(candidate),
                Aim::Leave => self.leave(candidate),
                Aim::Out => self.fate(candidate.place, Fate::Out),
            }
        }
        self.scale(&serving);
    }

    /// Of two real servers that are one destination the first counts; what is no destination has its problem told elsewhere.
    fn candidates(&self, key: ServiceKey, placed: &PlacedService, vips: &BTreeSet<IpAddr>) -> Vec<Candidate<'a>> {
        let mut candidates: Vec<Candidate<'a>> = Vec::new();
        for server in &self.part.real_servers {
            for (to, config) in destinations(server, placed, key.family(), vips).unwrap_or_default() {
                let place = (key, to);
                if candidates.iter().all(|there| there.place != place) {
                    candidates.push(Candidate { server, place, config });
                }
            }
        }
        candidates
    }

    /// A real server that leaves finishes what it has begun, also when it takes nothing new any more: its checks may fail
    /// just because of that.
    fn aim(&self, candidate: &Candidate<'_>, vips: &BTreeSet<IpAddr>) -> Aim {
        if candidate.server.leaving {
            return Aim::Leave;
        }
        let (_, to) = candidate.place;
        let destination = (candidate.server.name.as_str(), SocketAddr::new(to.address, to.port));
        match on_failure(self.down, destination, vips) {
            None => Aim::In,
            Some(OnFailure::Quiesce) => Aim::Leave,
            Some(OnFailure::Remove) => Aim::Out,
        }
    }

    /// The real servers, or the sorry server: whoever is not to serve stands by.
    fn choose(&mut self, key: ServiceKey, candidates: &[Candidate<'_>], aims: &mut [Aim]) {
        let is_in = |(candidate, aim): &(&Candidate<'_>, &Aim)| **aim == Aim::In && !candidate.server.sorry;
        let healthy = candidates.iter().zip(aims.iter()).filter(is_in);
        let weight = healthy.map(|(candidate, _)| u64::from(candidate.config.weight)).sum();
        let quorum = quorum(self.part);
        let state = match self.former.kept.quorums.get(&key) {
            Some(state) => quorum.next(*state, weight),
            // A hysteresis that was just asked for, or a ledger that was lost, sends nobody away who serves.
            None if candidates.iter().any(|candidate| self.serves(candidate)) => quorum.next(QuorumState::Up, weight),
            None => quorum.first(weight),
        };
        // Where both thresholds are one, the past says nothing.
        if quorum.hysteresis > 0 {
            self.step.course.kept.quorums.insert(key, state);
        }
        self.step.serving.below_quorum |= state == QuorumState::Down;
        let can_serve = |(candidate, aim): (&Candidate<'_>, &Aim)| *aim == Aim::In && candidate.server.sorry;
        let sorry = match candidates.iter().zip(aims.iter()).any(can_serve) {
            true => SorryServer::Ready,
            false => SorryServer::Absent,
        };
        let is_sorry_time = health::Serving::of(state, sorry) == health::Serving::SorryServer;
        for (candidate, aim) in candidates.iter().zip(aims) {
            if *aim == Aim::In && candidate.server.sorry != is_sorry_time {
                *aim = Aim::Leave;
                self.step.serving.standing_by.insert(candidate.server.name.clone());
            }
        }
    }

    /// Whether it takes new connections by the table, and is no sorry server.
    fn serves(&self, candidate: &Candidate<'_>) -> bool {
        let takes = |config: &DestinationConfig| config.weight > 0;
        !candidate.server.sorry && self.present(candidate.place).is_some_and(takes)
    }

    /// One that leaves: it drains if it is there, or began to and was taken away by somebody else meanwhile.
    fn leave(&mut self, candidate: &Candidate<'_>) {
        let (place, now) = (candidate.place, self.circumstances.now);
        let timeout = timeout(self.part);
        let leaving = match self.former.kept.leaves.get(&place) {
            Some(Leave::Over) => return self.over(place),
            Some(Leave::Draining(leaving)) => leaving.with_timeout(timeout),
            None if self.is_absent(place) => return self.fate(place, Fate::Out),
            None => Leaving::new(now, timeout),
        };
        let count = self.circumstances.counts.get(&place).copied();
        match leaving.drain().decide(now.moment, count) {
            Decision::Wait { until } => {
                self.step.course.kept.leaves.insert(place, Leave::Draining(leaving));
                self.fate(place, Fate::Draining);
                let drains = &mut self.step.serving.drains;
                let last = drains.entry(candidate.server.name.clone()).or_insert(leaving.until());
                *last = leaving.until().max(*last);
                self.wake(until);
            }
            Decision::Done => self.over(place),
            Decision::Cut => {
                self.step.cut.insert(place);
                self.over(place);
            }
        }
    }

    /// It is out, and stays out. That has to be known for as long as it may be in the table.
    fn over(&mut self, place: Place) {
        if !self.is_absent(place) {
            self.step.course.kept.leaves.insert(place, Leave::Over);
        }
        self.fate(place, Fate::Out);
    }

    /// Whether the table is known, and does not have it.
    fn is_absent(&self, place: Place) -> bool {
        self.circumstances.table.is_some() && self.present(place).is_none()
    }

    fn present(&self, (key, to): Place) -> Option<&DestinationConfig> {
        let service = self.circumstances.table?.services.get(&key)?;
        service.destinations.get(&to)
    }

    /// The weights of those that serve, while one of them grows to its own.
    fn scale(&mut self, serving: &[&Candidate<'_>]) {
        let Some(slow_start) = slow_start(self.part) else {
            return;
        };
        let ramps: Vec<Ramp> = serving
            .iter()
            .map(|candidate| Ramp {
                weight: candidate.config.weight,
                came_up: self.came_up(candidate.place),
            })
            .collect();
        let now = self.circumstances.now.moment;
        let scaled = slow_start.weights(now, &ramps);
        for ((candidate, ramp), weight) in serving.iter().zip(&ramps).zip(scaled.weights) {
            let ends = ramp
                .came_up
                .map(|came_up| (came_up, came_up.after(slow_start.duration)));
            match ends.filter(|(_, end)| now < *end && ramp.weight > 0) {
                Some((came_up, _)) => {
                    self.step.course.kept.ramps.insert(candidate.place, came_up);
                    self.step.serving.rising.insert(candidate.server.name.clone());
                }
                None => {
                    self.step.course.whole.insert(candidate.place);
                }
            }
            if scaled.next.is_some() {
                self.fate(candidate.place, Fate::Scaled(weight));
            }
        }
        scaled.next.into_iter().for_each(|next| self.wake(next));
    }

    /// When a destination that serves came up, if it has to grow since. One that is in the table did not come just now, and
    /// neither did one that was known to serve: somebody flushed the table.
    fn came_up(&self, place: Place) -> Option<Moment> {
        let former = self.former;
        if let Some(came_up) = former.kept.ramps.get(&place) {
            return Some(*came_up);
        }
        let serves = self.present(place).is_some_and(|config| config.weight > 0);
        let is_known = former.whole.contains(&place) || self.circumstances.table.is_none();
        (!serves && !is_known).then_some(self.circumstances.now.moment)
    }

    fn fate(&mut self, place: Place, fate: Fate) {
        self.step.serving.fates.insert(place, fate);
    }

    fn wake(&mut self, at: Moment) {
        let next = self.step.next.get_or_insert(at);
        *next = at.min(*next);
    }
}

fn quorum(part: &DirectorPart) -> Quorum {
    let number = |given: Option<i32>, default: u32| given.and_then(|number| number.try_into().ok()).unwrap_or(default);
    let crds::Quorum {
        minimum_weight,
        hysteresis,
    } = part.quorum.unwrap_or_default();
    let default = Quorum::default();
    Quorum {
        minimum_weight: number(minimum_weight, default.minimum_weight),
        hysteresis: number(hysteresis, default.hysteresis),
    }
}

fn timeout(part: &DirectorPart) -> Duration {
    seconds(part.drain.unwrap_or_default().timeout_seconds)
}

fn slow_start(part: &DirectorPart) -> Option<SlowStart> {
    part.slow_start.map(|slow_start| SlowStart {
        duration: seconds(slow_start.duration_seconds),
    })
}

fn seconds(given: i32) -> Duration {
    Duration::from_secs(u64::try_from(given).unwrap_or_default())
}
