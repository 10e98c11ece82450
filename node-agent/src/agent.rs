//! The loop: wait for Placements, a notification, or a clock; then one pass. It runs on a thread of its own, because the
//! kernel's answers are waited for in place, and because nothing that the API server does may delay it.

mod told;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;

use crate::admin::Readiness;
use crate::api::Say;
use crate::kernel::Kernel;
use crate::kernel::notify::Committed;
use crate::ledger::Journal;
use crate::metrics::Metrics;
use crate::pass::{Node, Reach};
use crate::placements::{Disk, Known, News, Stored};
use crate::view::{PlacementKey, Source};

/// What wakes the loop, besides its clocks.
#[derive(Debug)]
pub enum Wake {
    /// The API server said something new.
    Placements(News),
    /// The kernel said that links, addresses or routes changed.
    Network,
    /// nftables said that somebody committed what may concern us.
    Ruleset(Committed),
    /// End.
    Stop,
}

/// How often the loop looks by itself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two cheap looks whether IPVS was flushed.
    pub look: Duration,
    /// In this time everything is read once.
    pub audit: Duration,
}

/// How long the API server's list is waited for before the remembered Placements are taken.
const FIRST_LIST: Duration = Duration::from_secs(2);
/// Between the slices of an audit.
const SLICE: Duration = Duration::from_secs(1);
/// First and longest wait before an unfinished pass is repeated.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A burst of news is one pass.
const GATHER: Duration = Duration::from_millis(5);

/// Why a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// What was unfinished is tried again.
    Retry,
    /// Something was changed by somebody else: what the pass changes is a repair.
    Drift,
    /// The Placements changed.
    Placements,
}

/// The loop's state.
pub struct Agent<K, J> {
    node: Node<K, J>,
    disk: Disk,
    pace: Pace,
    say: UnboundedSender<Say>,
    metrics: Metrics,
    readiness: Readiness,
    clocks: Clocks,
    due: Option<Cause>,
}

/// When what happens next.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    look: Instant,
    slice: Instant,
    remember: Option<Instant>,
    retry: Option<Instant>,
    patience: Duration,
}

/// Everything that an [`Agent`] is made of.
pub struct Parts<K, J> {
    /// The node.
    pub node: Node<K, J>,
    /// The remembered Placements.
    pub disk: Disk,
    /// How often it looks.
    pub pace: Pace,
    /// To the API writer.
    pub say: UnboundedSender<Say>,
    /// Metrics.
    pub metrics: Metrics,
    /// `/readyz`.
    pub readiness: Readiness,
}

impl<K: Kernel, J: Journal> Agent<K, J> {
    /// An agent that knows nothing yet.
    pub fn new(parts: Parts<K, J>) -> Self {
        let Parts {
            node,
            disk,
            pace,
            say,
            metrics,
            readiness,
        } = parts;
        let now = clock();
        let clocks = Clocks {
            look: now + pace.look,
            slice: now + SLICE,
            remember: Some(now + FIRST_LIST),
            retry: None,
            patience: RETRY.0,
        };
        Self {
            node,
            disk,
            pace,
            say,
            metrics,
            readiness,
            clocks,
            due: None,
        }
    }

    /// Runs until it is told to stop, or nobody is left to wake it.
    pub fn run(mut self, inbox: &Receiver<Wake>) {
        loop {
            let wait = self.clocks.next().saturating_duration_since(clock());
            match inbox.recv_timeout(wait) {
                Ok(wake) => {
                    if self.gather(wake, inbox) == Flow::Stop {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tick(clock()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(cause) = self.due.take()
                && self.node.view().source != Source::Nothing
            {
                self.pass(cause);
            }
        }
    }

    /// Takes in what woke the loop and what followed at its heels.
    fn gather(&mut self, first: Wake, inbox: &Receiver<Wake>) -> Flow {
        let mut wake = first;
        loop {
            match wake {
                Wake::Placements(news) => self.take(news),
                Wake::Network => {
                    self.node.network_changed();
                    self.want(Cause::Drift);
                }
                Wake::Ruleset(committed) => {
                    if self.node.ruleset_committed(committed) {
                        self.want(Cause::Drift);
                    }
                }
                Wake::Stop => return Flow::Stop,
            }
            match inbox.recv_timeout(GATHER) {
                Ok(next) => wake = next,
                Err(RecvTimeoutError::Timeout) => return Flow::Go,
                Err(RecvTimeoutError::Disconnected) => return Flow::Stop,
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::List(known) => self.take_all(known),
            News::Placed { key, stored } => {
                let Stored { placed, status } = *stored;
                self.node.said(&key, &status);
                let status = Some(status);
                self.tell(Say::StoredOne {
                    key: key.clone(),
                    status,
                });
                if self.node.view().placements.get(&key) != Some(&placed) {
                    self.node.place(key.clone(), Some(placed));
                    self.has_changed(&key);
                }
            }
            News::Gone { key } => {
                self.tell(Say::StoredOne {
                    key: key.clone(),
                    status: None,
                });
                self.node.place(key.clone(), None);
                self.has_changed(&key);
            }
        }
    }

    fn take_all(&mut self, known: Known) {
        let Known { view, stored } = known;
        self.clocks.remember = None;
        stored.iter().for_each(|(key, status)| self.node.said(key, status));
        self.tell(Say::Stored(stored));
        if view == *self.node.view() {
            return;
        }
        self.node.see(view);
        let written = self.disk.write(self.node.view());
        self.changed(written);
    }

    fn has_changed(&mut self, key: &PlacementKey) {
        let written = self.disk.note(key, self.node.view());
        self.changed(written);
    }

    /// What was asked has changed. It is on disk before the pass: what is withdrawn in this boot must not come back from
    /// there in the next one.
    fn changed(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            tracing::error!(%error, "the Placements cannot be remembered: a start without an API server would use older ones");
        }
        self.metrics.placements(self.node.view().placements.len());
        self.want(Cause::Placements);
    }

    fn tick(&mut self, now: Instant) {
        if self.clocks.remember.is_some_and(|at| at <= now) {
            self.clocks.remember = None;
            self.node.see(self.disk.read());
            tracing::warn!(
                placements = self.node.view().placements.len(),
                "no list from the API server yet: going on with the remembered Placements"
            );
            self.want(Cause::Placements);
        }
        if self.clocks.look <= now {
            self.clocks.look = now + self.pace.look;
            if self.node.ipvs_differs() {
                self.metrics.count_mismatch();
                self.want(Cause::Drift);
            }
        }
        if self.clocks.slice <= now {
            self.clocks.slice = now + SLICE;
            let slices = usize::try_from(self.pace.audit.as_secs()).unwrap_or(usize::MAX);
            if self.node.audit(slices) {
                self.want(Cause::Drift);
            }
        }
        if self.clocks.retry.is_some_and(|at| at <= now) {
            self.clocks.retry = None;
            self.want(Cause::Retry);
        }
    }

    fn want(&mut self, cause: Cause) {
        self.due = self.due.max(Some(cause));
    }

    fn pass(&mut self, cause: Cause) {
        let started = clock();
        #[expect(
            clippy::disallowed_methods,
            reason = "the shell reads the clock that the statuses carry"
        )]
        let now = Timestamp::now();
        match self.node.pass(now) {
            Ok(outcome) => {
                self.metrics.pass("ok", started.elapsed());
                self.note(cause, &outcome);
                self.readiness.reached();
                if outcome.unfinished {
                    self.retry_later();
                } else {
                    self.clocks.retry = None;
                    self.clocks.patience = RETRY.0;
                }
                self.tell(match outcome.reach {
                    Reach::Everything => Say::Statuses(outcome.statuses),
                    Reach::Changes => Say::SomeStatuses(outcome.statuses),
                });
            }
            Err(error) => {
                self.metrics.pass("error", started.elapsed());
                tracing::error!(%error, "the pass could not be made; it is tried again");
                self.retry_later();
            }
        }
    }

    fn retry_later(&mut self) {
        if self.clocks.retry.is_none() {
            self.clocks.retry = Some(clock() + self.clocks.patience);
            self.clocks.patience = (self.clocks.patience * 2).min(RETRY.1);
        }
    }

    fn tell(&self, say: Say) {
        // The writer ends before the loop only when the process ends.
        let _: Result<(), _> = self.say.send(say);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

impl Clocks {
    fn next(&self) -> Instant {
        let fixed = self.look.min(self.slice);
        [self.remember, self.retry]
            .into_iter()
            .flatten()
            .fold(fixed, Instant::min)
    }
}

#[expect(clippy::disallowed_methods, reason = "the loop is where time comes from")]
fn clock() -> Instant {
    Instant::now()
}
