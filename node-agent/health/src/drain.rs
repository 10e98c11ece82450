//! A real server that leaves: it keeps its connections until none is left, or its time is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::{Moment, milliseconds};

/// How often connections are counted at first, and at the last.
const POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// A drain that has begun: from when on the destination has weight 0.
///
/// To be kept as [`OfBoot`](crate::OfBoot), so that a restart keeps the time that remains (F2) and a reboot ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Drain {
    since: Moment,
    #[serde(rename = "timeout_milliseconds")]
    timeout: u64,
}

/// What becomes of a draining destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It stays, at weight 0.
    Wait {
        /// When to count again, at most the deadline.
        until: Moment,
    },
    /// It goes: no connection is left.
    Done,
    /// It goes: the deadline has passed, and connections are left, or nobody knows. They are reset.
    Cut,
}

impl Drain {
    /// A drain from `now` on. A timeout of zero keeps nothing.
    #[must_use]
    pub fn new(now: Moment, timeout: Duration) -> Self {
        Self {
            since: now,
            timeout: milliseconds(timeout),
        }
    }

    /// The same drain under a changed spec: shorter or longer, counted from when it began.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self::new(self.since, timeout)
    }

    /// When it began.
    #[must_use]
    pub fn since(self) -> Moment {
        self.since
    }

    /// When the destination goes, whatever is left. Nothing outlives it (F1).
    #[must_use]
    pub fn deadline(self) -> Moment {
        self.since.after(Duration::from_millis(self.timeout))
    }

    /// When to count again: each second at first, later after a tenth of the time that it took so far, at most ten
    /// seconds; never after the deadline.
    #[must_use]
    pub fn next(self, now: Moment) -> Moment {
        let (first, last) = POLL;
        let pause = (now.since(self.since) / 10).clamp(first, last);
        now.after(pause).min(self.deadline())
    }

    /// What to do with `connections` left: active and inactive ones, since those of UDP are all inactive (F8), counted
    /// after the kernel took weight 0. `None` = the count could not be read, which is not zero.
    ///
    /// A drain that is said to begin later than `now` is of another clock, and over.
    #[must_use]
    pub fn decide(self, now: Moment, connections: Option<u64>) -> Decision {
        let over = now >= self.deadline() || now < self.since;
        match connections {
            Some(0) => Decision::Done,
            Some(_) | None if over => Decision::Cut,
            Some(_) | None => Decision::Wait { until: self.next(now) },
        }
    }
}

#[cfg(test)]
mod tests;
