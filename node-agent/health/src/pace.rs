//! How often a target is probed, and how much evidence a verdict takes.

use std::time::Duration;

use crate::check::Verdict;

/// The pace of a check. Its defaults are those of a VirtualService's `healthChecks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    /// From one regular attempt to the next (keepalived `delay_loop`).
    pub interval: Duration,
    /// What an attempt may take (keepalived `connect_timeout`).
    pub timeout: Duration,
    /// Further attempts after the first failure before Down (keepalived `retry`): Down takes one failure more than this.
    pub retries: u32,
    /// From a failure to the next attempt while retries are left (keepalived `delay_before_retry`).
    pub retry_interval: Duration,
    /// Successes in a row before Up; 0 counts as 1.
    pub rise: u32,
    /// The verdict about a target of which nothing is known (Down: keepalived `alpha`).
    pub initial: Verdict,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            retry_interval: Duration::from_secs(3),
            rise: 1,
            initial: Verdict::Down,
        }
    }
}

impl Pace {
    /// How long after its last sign of life a target is Down at the latest: `interval + timeout + retries × (retry_interval + timeout)`.
    ///
    /// It holds for a target that is Up, when no attempt passes from some moment on and each attempt begins when it is
    /// due. Damping does not change it.
    #[must_use]
    pub fn detection_bound(&self) -> Duration {
        let retries = self
            .retry_interval
            .saturating_add(self.timeout)
            .saturating_mul(self.retries);
        self.interval.saturating_add(self.timeout).saturating_add(retries)
    }

    /// Whether the two ask the same of a target that has a verdict already: `initial` says nothing about it.
    pub(crate) fn goes_like(&self, other: &Self) -> bool {
        Self {
            initial: other.initial,
            ..*self
        } == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_the_defaults() {
        // 10 + 5 + 3 × (3 + 5)
        assert_eq!(Pace::default().detection_bound(), Duration::from_secs(39));
    }

    #[test]
    fn the_bound_does_not_overflow() {
        let pace = Pace {
            timeout: Duration::MAX,
            retries: u32::MAX,
            ..Pace::default()
        };
        assert_eq!(pace.detection_bound(), Duration::MAX);
    }
}
