//! What all checks of one destination say together.

use crate::check::{Check, Verdict};
use crate::moment::Moment;

/// The verdict about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every check passes.
    Up {
        /// Since when, for slow start; nothing when there is no check (`none`).
        since: Option<Moment>,
    },
    /// A check fails, or has not passed yet.
    Down {
        /// Why: the words of the first one in the list.
        words: String,
        /// Since when that one is Down.
        since: Moment,
    },
}

/// All checks must pass (keepalived: a real server with a failed checker is down). Of those that do not, the first in
/// the list speaks. No check at all (`none`) is always Up.
#[must_use]
pub fn conjunction<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Standing {
    let mut latest = None;
    for check in checks {
        match check.verdict() {
            Verdict::Up => latest = latest.max(Some(check.since())),
            Verdict::Down => {
                return Standing::Down {
                    words: check.words().to_owned(),
                    since: check.since(),
                };
            }
        }
    }
    Standing::Up { since: latest }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Outcome;
    use crate::pace::Pace;
    use crate::schedule::Phase;

    fn up(seconds: u64) -> Check {
        let mut check = Check::new(moment(seconds), Phase::of(0), Pace::default());
        let now = moment(seconds + 1);
        let attempt = check.begin(now).unwrap();
        check.conclude(now, attempt, Outcome::Passed).unwrap();
        check
    }

    fn down(seconds: u64, words: &str) -> Check {
        let mut check = Check::new(moment(seconds), Phase::of(0), Pace::default());
        let now = moment(seconds + 1);
        let attempt = check.begin(now).unwrap();
        check.conclude(now, attempt, Outcome::Failed(words.to_owned()));
        check
    }

    fn moment(seconds: u64) -> Moment {
        Moment::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn all_must_pass_and_the_first_that_does_not_speaks() {
        let is_down = |words: &str, seconds| Standing::Down {
            words: words.to_owned(),
            since: moment(seconds),
        };
        let is_up = |since: Option<u64>| Standing::Up {
            since: since.map(moment),
        };
        let table = [
            (vec![], is_up(None)),
            (vec![up(4)], is_up(Some(5))),
            (vec![up(4), up(9), up(1)], is_up(Some(10))),
            (vec![up(4), down(7, "refused")], is_down("refused", 7)),
            (vec![down(8, "first"), up(4), down(7, "second")], is_down("first", 8)),
        ];
        for (checks, expected) in table {
            assert_eq!(conjunction(&checks), expected);
        }
    }
}
