//! The verdict machine of one probed target.
//!
//! ```text
//!          begin                 conclude, overrun
//!  Waiting ─────► Running ─────────────────────────► Waiting, and a Transition when the evidence suffices
//!
//!  Up    passed: the next on the grid              failed: again after retry_interval; after `retries` of these Down
//!  Down  passed: the next on the grid; Up after    failed: the count starts again, the next on the grid
//!        rise (and damping) in a row
//! ```
//!
//! A check is of a target and a probe, however many services share them. Another probe is another check; another
//! [`Pace`] is [`Check::reconfigure`], which keeps the verdict.

mod memory;
pub use memory::Remembered;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::damping::Damping;
use crate::moment::Moment;
use crate::pace::Pace;
use crate::schedule::Phase;

/// What is believed about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It answers.
    Up,
    /// It does not, or has not yet.
    Down,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered as it should.
    Passed,
    /// It did not: what was done and what came of it, such as `connect to 192.0.2.1:80: connection refused`.
    Failed(String),
}

/// Names one attempt, so that its result is told from that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(u64);

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The verdict before.
    pub from: Verdict,
    /// The verdict from now on.
    pub to: Verdict,
    /// When.
    pub at: Moment,
    /// The evidence, such as `connect to 192.0.2.1:80: connection refused, 4 of 4`.
    pub words: String,
}

/// The state of one check. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    phase: Phase,
    pace: Pace,
    verdict: Verdict,
    since: Moment,
    words: String,
    /// See [`Check::is_tested`].
    tested: bool,
    /// Attempts in a row that speak against the verdict: failures while Up, successes while Down.
    against: u32,
    damping: Damping,
    attempt: Attempt,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting { due: Moment },
    Running { deadline: Moment },
}

impl Check {
    /// A target of which nothing is known: the verdict is the pace's `initial`.
    ///
    /// The first attempt is due within a second when that is Down, since the target serves nobody until it passes; else
    /// at the target's place in the interval.
    #[must_use]
    pub fn new(now: Moment, phase: Phase, pace: Pace) -> Self {
        let remembered = Remembered::untested(now, pace.initial);
        Self::restored(now, phase, pace, remembered)
    }

    /// What is believed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Why: the words of the last transition, or of the first attempt that confirmed the initial verdict.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Whether the verdict rests on an attempt, and not on `initial` alone.
    #[must_use]
    pub fn is_tested(&self) -> bool {
        self.tested
    }

    /// What flapping has cost so far.
    #[must_use]
    pub fn damping(&self) -> Damping {
        self.damping
    }

    /// When to call next: [`Check::begin`], or [`Check::overrun`] if an attempt runs.
    #[must_use]
    pub fn next(&self) -> Moment {
        match self.stage {
            Stage::Waiting { due } => due,
            Stage::Running { deadline } => deadline,
        }
    }

    /// Begins an attempt, if one is due and none runs.
    #[must_use]
    pub fn begin(&mut self, now: Moment) -> Option<Attempt> {
        match self.stage {
            Stage::Waiting { due } if due <= now => {
                self.attempt = Attempt(self.attempt.0.wrapping_add(1));
                let deadline = now.after(self.pace.timeout);
                self.stage = Stage::Running { deadline };
                Some(self.attempt)
            }
            Stage::Waiting { due: _ } | Stage::Running { deadline: _ } => None,
        }
    }

    /// The result of an attempt. One that was counted as overrun already, or was begun before [`Check::reconfigure`],
    /// is not evidence any more, and changes nothing.
    ///
    /// A result that arrives late, but before the overrun was counted, counts: when it is the agent that stood still,
    /// no real server is to blame. So the caller hands over what has arrived before it asks for overruns.
    pub fn conclude(&mut self, now: Moment, attempt: Attempt, outcome: Outcome) -> Option<Transition> {
        match self.stage {
            Stage::Running { deadline: _ } if attempt == self.attempt => match outcome {
                Outcome::Passed => self.passed(now),
                Outcome::Failed(words) => self.failed(now, words),
            },
            Stage::Running { deadline: _ } | Stage::Waiting { due: _ } => None,
        }
    }

    /// An attempt that could not be made, for want of a descriptor or a source address here: no evidence of the target. The
    /// next one comes when it would have come after a success.
    pub fn unmade(&mut self, now: Moment, attempt: Attempt) {
        match self.stage {
            Stage::Running { deadline: _ } if attempt == self.attempt => self.wait(now),
            Stage::Running { deadline: _ } | Stage::Waiting { due: _ } => {}
        }
    }

    /// Counts a running attempt as failed when its timeout has passed. A probe that keeps its own timeout says better
    /// what it waited for; this is what holds when none does.
    pub fn overrun(&mut self, now: Moment) -> Option<Transition> {
        match self.stage {
            Stage::Running { deadline } if deadline <= now => {
                self.failed(now, format!("no answer within {}", words_of(self.pace.timeout)))
            }
            Stage::Running { deadline: _ } | Stage::Waiting { due: _ } => None,
        }
    }

    /// Goes on at another pace. The verdict, its reason and the attempts counted so far stand; a running attempt is
    /// made again. With the same pace nothing happens, and `initial` makes no difference, for a verdict there is.
    pub fn reconfigure(&mut self, now: Moment, pace: Pace) {
        if self.pace.goes_like(&pace) {
            self.pace = pace;
            return;
        }
        self.pace = pace;
        // Not later than it was: a pace that is edited again and again must not put an attempt off for ever.
        let due = match self.stage {
            Stage::Waiting { due } => due.min(self.due(now)),
            Stage::Running { deadline: _ } => now,
        };
        self.stage = Stage::Waiting { due };
    }

    fn passed(&mut self, now: Moment) -> Option<Transition> {
        match self.verdict {
            Verdict::Up => {
                self.against = 0;
                if !self.tested {
                    self.tested = true;
                    "passed, 1 of 1".clone_into(&mut self.words);
                }
                self.wait(now);
                None
            }
            Verdict::Down => {
                let needed = self.pace.rise.max(1).saturating_add(self.damping.extra());
                self.against = self.against.saturating_add(1);
                if self.against < needed {
                    self.wait(now);
                    return None;
                }
                self.damping.up(now);
                Some(self.turn(now, Verdict::Up, format!("passed, {needed} of {needed}")))
            }
        }
    }

    fn failed(&mut self, now: Moment, words: String) -> Option<Transition> {
        match self.verdict {
            Verdict::Up => {
                self.damping.failed(now, self.pace.interval);
                let needed = self.pace.retries.saturating_add(1);
                self.against = self.against.saturating_add(1);
                if self.against < needed {
                    self.wait(now);
                    return None;
                }
                self.damping.down(now, self.pace.interval);
                Some(self.turn(now, Verdict::Down, format!("{words}, {needed} of {needed}")))
            }
            Verdict::Down => {
                self.against = 0;
                if !self.tested {
                    self.tested = true;
                    self.words = words;
                }
                self.wait(now);
                None
            }
        }
    }

    fn turn(&mut self, at: Moment, to: Verdict, words: String) -> Transition {
        let from = std::mem::replace(&mut self.verdict, to);
        self.since = at;
        self.words.clone_from(&words);
        self.tested = true;
        self.against = 0;
        self.wait(at);
        Transition { from, to, at, words }
    }

    fn wait(&mut self, now: Moment) {
        let due = self.due(now);
        self.stage = Stage::Waiting { due };
    }

    /// When the attempt after `now` is due.
    fn due(&self, now: Moment) -> Moment {
        let regular = self.phase.next(now, self.pace.interval);
        match (self.verdict, self.against) {
            // A new target: the successes that it needs follow each other quickly, or every new director would be dark
            // for some intervals.
            (Verdict::Down, _) if !self.tested => regular.min(now.after(self.pace.retry_interval)),
            (Verdict::Down, _) | (Verdict::Up, 0) => regular,
            (Verdict::Up, _) => now.after(self.pace.retry_interval),
        }
    }
}

fn words_of(span: Duration) -> String {
    match span.subsec_nanos() {
        0 => format!("{} s", span.as_secs()),
        _ => format!("{} ms", span.as_millis()),
    }
}

#[cfg(test)]
mod tests;
