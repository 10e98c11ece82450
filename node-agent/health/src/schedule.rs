//! When a target is probed: on a grid of its own, so that ten thousand checks do not march in step.

use std::time::Duration;

use crate::moment::{Moment, milliseconds};

/// Within which a new target, taken for Down, is probed first: soon, yet not all at once.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// A target's place within its interval: a function of the target alone, so that it is the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phase(u64);

impl Phase {
    /// From any number that tells targets apart: a hash, or a counter. It is mixed here.
    #[must_use]
    pub fn of(target: u64) -> Self {
        // The finalizer of SplitMix64 (Steele, Lea, Flood 2014), a bijection: neighbours end far apart.
        let mut mixed = target.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    /// The place within a span, in whole milliseconds: less than the span, all parts of it alike.
    fn within(self, span: u64) -> u64 {
        let place = (u128::from(self.0) * u128::from(span)) >> 64;
        u64::try_from(place).unwrap_or(0)
    }

    /// The first moment after `now` on the grid of this phase and interval.
    ///
    /// The grid is fixed to boot: lateness does not move it, and what was missed is skipped, not made up for.
    pub(crate) fn next(self, now: Moment, interval: Duration) -> Moment {
        let interval = milliseconds(interval).max(1);
        let phase = self.within(interval);
        let now = now.milliseconds();
        let next = match now.checked_sub(phase) {
            None => phase,
            Some(elapsed) => now.saturating_add(interval - elapsed % interval),
        };
        Moment::from_milliseconds(next)
    }

    /// When a new target that is taken for Down is probed first: until then it serves nobody.
    pub(crate) fn first(self, now: Moment, interval: Duration) -> Moment {
        let span = milliseconds(interval.min(FIRST_WITHIN));
        now.after(Duration::from_millis(self.within(span)))
    }
}

#[cfg(test)]
mod tests;
