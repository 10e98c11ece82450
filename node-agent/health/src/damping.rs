//! Flapping costs the flapping target, not its clients.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// Intervals that a target must stay Up, without a failed attempt, to count as calm.
const CALM: u32 = 10;

/// The most that damping asks beyond `rise`.
const MOST: u32 = 5;

/// How many successes in a row a target must show beyond `rise`, because it was Up and Down by turns.
///
/// A *relapse*, that is to go Down less than ten intervals after coming up again, adds one, up to five.
/// Each ten intervals Up without a failed attempt take one away. So an outage that comes alone ends after `rise`
/// successes, as asked for; a target that comes and goes stays away longer each time, at most five intervals longer.
/// That is the only side that is damped: clients of a real server that does not answer wait for nothing, so a failure
/// is detected as fast as ever. keepalived has no such thing; its `hysteresis` damps the quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damping {
    extra: u32,
    /// Since when a target that is Up has been so without a failure.
    calm_since: Moment,
    /// Whether it ever went Down after it was Up: to come up for the first time is no recovery.
    fell: bool,
    recovered: Option<Moment>,
}

impl Damping {
    /// Successes in a row that are needed beyond `rise`.
    #[must_use]
    pub fn extra(&self) -> u32 {
        self.extra
    }

    /// A target that is Up from `now` on.
    pub(crate) fn up(&mut self, now: Moment) {
        self.calm_since = now;
        self.recovered = self.fell.then_some(now);
    }

    /// An attempt failed while the target was Up.
    pub(crate) fn failed(&mut self, now: Moment, interval: Duration) {
        let calm = calm(interval).as_millis().max(1);
        let earned = now.since(self.calm_since).as_millis() / calm;
        self.extra = self.extra.saturating_sub(u32::try_from(earned).unwrap_or(u32::MAX));
        self.calm_since = now;
    }

    /// A target that was Up is Down from `now` on.
    pub(crate) fn down(&mut self, now: Moment, interval: Duration) {
        self.fell = true;
        let relapse = |recovered| now.since(recovered) < calm(interval);
        if self.recovered.take().is_some_and(relapse) {
            self.extra = self.extra.saturating_add(1).min(MOST);
        }
    }
}

fn calm(interval: Duration) -> Duration {
    interval.saturating_mul(CALM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    /// Up for so many seconds, then Down for 20; what is needed then.
    fn after(stays: &[u64]) -> u32 {
        let (mut damping, mut now) = (Damping::default(), 0);
        for stay in stays {
            damping.up(at(now));
            now += stay;
            damping.failed(at(now), INTERVAL);
            damping.down(at(now), INTERVAL);
            now += 20;
        }
        damping.extra()
    }

    #[test]
    fn a_relapse_costs_one_more_success_and_calm_takes_it_back() {
        let table: &[(&[u64], u32)] = &[
            // An outage alone, soon or late.
            (&[30], 0),
            (&[1000], 0),
            (&[1000, 1000], 0),
            // Relapses, the first of them not earlier than the second stay.
            (&[30, 99], 1),
            (&[30, 100], 0),
            (&[30, 30, 30], 2),
            (&[30, 30, 30, 30, 30, 30, 30, 30], MOST),
            // Calm: one for each hundred seconds.
            (&[30, 30, 30, 99], 3),
            (&[30, 30, 30, 100], 1),
            (&[30, 30, 30, 250], 0),
        ];
        for (stays, extra) in table {
            assert_eq!(after(stays), *extra, "{stays:?}");
        }
    }

    #[test]
    fn a_failed_attempt_ends_the_calm() {
        let mut damping = Damping {
            extra: 2,
            ..Damping::default()
        };
        damping.up(at(0));
        for seconds in (50..1000).step_by(50) {
            damping.failed(at(seconds), INTERVAL);
        }
        assert_eq!(damping.extra(), 2);
    }
}
