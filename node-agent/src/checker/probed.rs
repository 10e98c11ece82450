//! What is probed, and a probe from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use health::{Attempt, Check, Moment};
use tokio::task::JoinHandle;

use crate::checks::{Asked, Belief};
use crate::probe::{Failure, Target};

/// One probe's end.
pub(super) struct Done {
    pub(super) asked: Arc<Asked>,
    pub(super) attempt: Attempt,
    pub(super) outcome: Result<(), Failure>,
    /// From when it was due until it began.
    pub(super) late: Duration,
    pub(super) took: Duration,
}

/// A probe that is about to begin.
pub(super) struct Begun {
    pub(super) asked: Arc<Asked>,
    pub(super) attempt: Attempt,
    pub(super) target: Target,
    pub(super) due: Moment,
    pub(super) timeout: Duration,
}

/// One target.
pub(super) struct Probed {
    pub(super) asked: Arc<Asked>,
    /// In the memory.
    pub(super) name: String,
    pub(super) check: Check,
    pub(super) timeout: Duration,
    /// Where it stands in `due`.
    pub(super) due: Moment,
    pub(super) running: Option<(Attempt, JoinHandle<()>)>,
    /// What was said of it last.
    pub(super) said: Belief,
}

impl Probed {
    /// Gives up the running probe. Says how many there were.
    pub(super) fn abort(&mut self) -> usize {
        let running = self.running.take();
        running.map_or(0, |(_, running)| {
            running.abort();
            1
        })
    }
}

/// What is believed now.
pub(super) fn belief(check: &Check) -> Belief {
    Belief {
        verdict: check.verdict(),
        words: check.words().to_owned(),
        tested: check.is_tested(),
    }
}
