//! The agent's clocks, read by its shells alone.

use std::fs;
use std::time::{Duration, Instant};

use health::Moment;
use jiff::Timestamp;

use crate::serving::Now;

/// Time since boot, read once from the kernel and carried on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    booted: Duration,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        // Seconds since boot, with two decimals (proc_uptime(5)). Where it cannot be read no moment of before is in the past.
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = uptime.split_whitespace().next().and_then(|text| text.parse().ok());
        Self {
            start: instant(),
            booted: Duration::from_secs_f64(seconds.unwrap_or_default()),
        }
    }

    /// The time since boot.
    pub fn moment(&self) -> Moment {
        Moment::since_boot(self.at(instant()))
    }

    /// How long after boot something is, less exactly cut than a [`Moment`].
    pub fn at(&self, instant: Instant) -> Duration {
        self.booted
            .saturating_add(instant.saturating_duration_since(self.start))
    }

    /// Both times.
    pub fn now(&self) -> Now {
        Now {
            moment: self.moment(),
            clock: wall(),
        }
    }

    /// When that moment is, by the monotonic clock; at once, where it has been.
    pub fn instant_of(&self, moment: Moment) -> Instant {
        instant() + moment.since(self.moment())
    }
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the shells are where time comes from")]
pub fn instant() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shells read the clock that the statuses carry"
)]
fn wall() -> Timestamp {
    Timestamp::now()
}
