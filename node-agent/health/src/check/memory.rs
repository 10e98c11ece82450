//! What of a check outlives the process (F37).

use serde::{Deserialize, Serialize};

use super::{Attempt, Check, Stage, Verdict};
use crate::damping::Damping;
use crate::moment::Moment;
use crate::pace::Pace;
use crate::schedule::Phase;

/// A verdict as it goes to disk, to be kept as [`OfBoot`](crate::OfBoot). Counts in progress are not part of it: what
/// happened while nobody looked is not known, so the next verdict rests on attempts made in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The verdict.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// Why.
    pub words: String,
    tested: bool,
    /// What flapping has cost so far.
    damping: Damping,
}

impl Remembered {
    pub(super) fn untested(now: Moment, verdict: Verdict) -> Self {
        let mut damping = Damping::default();
        damping.up(now);
        Self {
            verdict,
            since: now,
            words: "not probed yet".to_owned(),
            tested: false,
            damping,
        }
    }

    /// Whether the verdict rests on an attempt.
    #[must_use]
    pub fn is_tested(&self) -> bool {
        self.tested
    }
}

impl Check {
    /// What to keep for [`Check::restored`].
    #[must_use]
    pub fn remember(&self) -> Remembered {
        Remembered {
            verdict: self.verdict,
            since: self.since,
            words: self.words.clone(),
            tested: self.tested,
            damping: self.damping,
        }
    }

    /// The check after a restart: the last verdict stands, whatever `initial` says, and so does damping.
    #[must_use]
    pub fn restored(now: Moment, phase: Phase, pace: Pace, remembered: Remembered) -> Self {
        let Remembered {
            verdict,
            since,
            words,
            tested,
            damping,
        } = remembered;
        let due = match verdict {
            Verdict::Down if !tested => phase.first(now, pace.interval),
            Verdict::Down | Verdict::Up => phase.next(now, pace.interval),
        };
        Self {
            phase,
            pace,
            verdict,
            since: since.min(now),
            words,
            tested,
            against: 0,
            damping,
            attempt: Attempt(0),
            stage: Stage::Waiting { due },
        }
    }
}
