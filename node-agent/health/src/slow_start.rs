//! Weights while a destination that came up grows to its share.

use std::time::Duration;

use crate::moment::{Moment, milliseconds};

/// The greatest weight of the API. The kernel takes more, up to an `int`; schedulers multiply weights by connections.
const GREATEST_WEIGHT: u32 = 65_535;

/// Steps of a ramp: few enough that a ramp of 512 real servers is no load, many enough that none is felt.
const MOST_STEPS: u64 = 15;

/// Slow start of a service.
///
/// A ramp has one step a second, 15 at most, and each is as long as the other: 30 s are 15 steps of 2 s. In step k of
/// n, counted from 1, a destination has k parts of n + 1 of its weight, never 0; when the duration is over it has all.
///
/// Weights are integers, and most are 1. So while any destination of the service ramps, **all** its weights are
/// multiplied by n + 1 (at most 16), which leaves the shares of the others among themselves as they are. Where the
/// greatest weight would pass 65535 the factor is smaller, down to 1, and steps are rounded up: weights that great are
/// fine enough by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlowStart {
    /// How long a ramp takes; zero = there is none.
    pub duration: Duration,
}

/// A destination of a service with slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ramp {
    /// Its final weight; 0 stays 0.
    pub weight: u32,
    /// When it came up; `None` = it has no ramp, as one that was there before slow start was asked for.
    pub came_up: Option<Moment>,
}

/// The weights of a service at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// One for each destination, in their order.
    pub weights: Vec<u32>,
    /// When they change without anybody's doing: the next step of a ramp. `None` = all are final.
    pub next: Option<Moment>,
}

impl SlowStart {
    /// The weights at `now`.
    #[must_use]
    pub fn weights(self, now: Moment, destinations: &[Ramp]) -> Weights {
        let steps: Vec<Option<u64>> = destinations.iter().map(|ramp| self.step(now, *ramp)).collect();
        let next = destinations
            .iter()
            .zip(&steps)
            .filter_map(|(ramp, step)| Some(self.end_of(ramp.came_up?, (*step)?)))
            .min();
        let Some(_) = next else {
            let weights = destinations.iter().map(|ramp| ramp.weight).collect();
            return Weights { weights, next };
        };
        let parts = self.steps() + 1;
        let greatest = destinations.iter().map(|ramp| ramp.weight).max().unwrap_or(0).max(1);
        let factor = u64::from(GREATEST_WEIGHT / greatest).clamp(1, parts);
        let weights = destinations
            .iter()
            .zip(&steps)
            .map(|(ramp, step)| {
                let share = step.unwrap_or(parts);
                let weight = (u64::from(ramp.weight) * factor * share).div_ceil(parts);
                u32::try_from(weight).unwrap_or(u32::MAX)
            })
            .collect();
        Weights { weights, next }
    }

    fn steps(self) -> u64 {
        self.duration.as_secs().clamp(1, MOST_STEPS)
    }

    /// The step of a destination, counted from 1; `None` when its weight is final. A moment to come is of another
    /// clock: no ramp, for that one would not end.
    fn step(self, now: Moment, ramp: Ramp) -> Option<u64> {
        let came_up = ramp.came_up.filter(|came_up| *came_up <= now)?;
        let duration = milliseconds(self.duration);
        let elapsed = milliseconds(now.since(came_up));
        if ramp.weight == 0 || elapsed >= duration {
            return None;
        }
        let step = u128::from(elapsed) * u128::from(self.steps()) / u128::from(duration);
        u64::try_from(step).ok().map(|step| step + 1)
    }

    fn end_of(self, came_up: Moment, step: u64) -> Moment {
        let end = (u128::from(milliseconds(self.duration)) * u128::from(step)).div_ceil(u128::from(self.steps()));
        came_up.after(Duration::from_millis(u64::try_from(end).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests;
