//! The loop: wait for Placements, a notification, or a clock; then one pass. It runs on a thread of its own, because the
//! kernel's answers are waited for in place, and because nothing that the API server does may delay it.

mod health;
mod told;

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::admin::Readiness;
use crate::api::Say;
use crate::checker::Memory;
use crate::checks::{Asked, Belief, Checks, Order, Ways};
use crate::clock::{self, Clock};
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
    /// The checker believes something else of a target than before.
    Health {
        /// What was probed.
        asked: Box<Asked>,
        /// What is believed now.
        belief: Belief,
    },
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
/// There may always be something more, and a pass waits for none of it.
const LONGEST_GATHER: Duration = Duration::from_millis(50);
/// A verdict is waited for by clients: what follows at its heels is taken along, and no more.
const AT_ONCE: Duration = Duration::from_micros(500);

/// Why a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// What was unfinished is tried again.
    Retry,
    /// The time has come for the next step of a drain, or of a slow start.
    Time,
    /// Something was changed by somebody else: what the pass changes is a repair.
    Drift,
    /// A real server went down, or came up.
    Health,
    /// The Placements changed.
    Placements,
}

/// The loop's state.
pub struct Agent<K, J> {
    node: Node<K, J>,
    checks: Checks,
    orders: UnboundedSender<Order>,
    verdicts: Memory,
    disk: Disk,
    pace: Pace,
    say: UnboundedSender<Say>,
    metrics: Metrics,
    readiness: Readiness,
    clock: Clock,
    clocks: Clocks,
    due: Option<Cause>,
    /// The ways that the checker knows to be open.
    ways: Ways,
}

/// When what happens next.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    look: Instant,
    slice: Instant,
    remember: Option<Instant>,
    retry: Option<Instant>,
    /// The next step of what goes on by itself.
    due: Option<Instant>,
    patience: Duration,
}

/// Everything that an [`Agent`] is made of.
pub struct Parts<K, J> {
    /// The node.
    pub node: Node<K, J>,
    /// To the checker.
    pub orders: UnboundedSender<Order>,
    /// The remembered verdicts.
    pub verdicts: Memory,
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
            orders,
            verdicts,
            disk,
            pace,
            say,
            metrics,
            readiness,
        } = parts;
        let now = clock::instant();
        let clocks = Clocks {
            look: now + pace.look,
            slice: now + SLICE,
            remember: Some(now + FIRST_LIST),
            retry: None,
            due: None,
            patience: RETRY.0,
        };
        Self {
            node,
            checks: Checks::default(),
            orders,
            verdicts,
            disk,
            pace,
            say,
            metrics,
            readiness,
            clock: Clock::start(),
            clocks,
            due: None,
            ways: Ways::default(),
        }
    }

    /// Runs until it is told to stop, or nobody is left to wake it.
    pub fn run(mut self, inbox: &Receiver<Wake>) {
        loop {
            let wait = self.clocks.next().saturating_duration_since(clock::instant());
            match inbox.recv_timeout(wait) {
                Ok(wake) => {
                    if self.gather(wake, inbox) == Flow::Stop {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tick(clock::instant()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(cause) = self.due.take()
                && self.node.view().source != Source::Nothing
            {
                self.pass(cause);
            }
        }
    }

    /// Takes in what woke the loop and what followed at its heels. Each Placement is judged once, however many verdicts there
    /// are: a whole rack may go at once.
    fn gather(&mut self, first: Wake, inbox: &Receiver<Wake>) -> Flow {
        let mut judged = BTreeSet::new();
        let flow = self.take_in(first, inbox, &mut judged);
        self.judge(judged);
        flow
    }

    /// Adds the Placements that verdicts matter for to `judged`. Ends in time, though there is always something more.
    fn take_in(&mut self, first: Wake, inbox: &Receiver<Wake>, judged: &mut BTreeSet<PlacementKey>) -> Flow {
        let end = clock::instant() + LONGEST_GATHER;
        let mut wake = first;
        let mut gather = GATHER;
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
                Wake::Health { asked, belief } => {
                    judged.extend(self.checks.believe(&asked, belief));
                    gather = AT_ONCE;
                }
                Wake::Stop => return Flow::Stop,
            }
            if clock::instant() >= end {
                return Flow::Go;
            }
            match inbox.recv_timeout(gather) {
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
                let placed = self.checked(&key, placed);
                self.node.said(&key, &status);
                let status = Some(status);
                self.tell(Say::StoredOne {
                    key: key.clone(),
                    status,
                });
                let known = self.node.view().placements.get(&key);
                if !known.is_some_and(|known| known.asks_as(&placed)) {
                    self.node.place(key.clone(), Some(placed));
                    self.has_changed(&key);
                }
            }
            News::Gone { key } => {
                self.tell(Say::StoredOne {
                    key: key.clone(),
                    status: None,
                });
                self.uncheck(&key);
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
        let view = self.checked_all(view);
        if view.asks_as(self.node.view()) {
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
            let view = self.checked_all(self.disk.read());
            self.node.see(view);
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
            if self.node.answers_are_shut_out() {
                self.want(Cause::Drift);
            }
        }
        if self.clocks.slice <= now {
            self.clocks.slice = now + SLICE;
            let slices = usize::try_from(self.pace.audit.as_secs()).unwrap_or(usize::MAX);
            if self.node.audit(slices) {
                self.want(Cause::Drift);
            }
            self.metrics.source_ports(self.node.observed().source_port_share());
        }
        if self.clocks.retry.is_some_and(|at| at <= now) {
            self.clocks.retry = None;
            self.want(Cause::Retry);
        }
        if self.clocks.due.is_some_and(|at| at <= now) {
            self.clocks.due = None;
            self.want(Cause::Time);
        }
    }

    fn want(&mut self, cause: Cause) {
        self.due = self.due.max(Some(cause));
    }

    fn pass(&mut self, cause: Cause) {
        let started = clock::instant();
        let outcome = self.node.pass(self.clock.now());
        self.clocks.due = self.node.due().map(|moment| self.clock.instant_of(moment));
        self.metrics.leaving.draining(self.node.draining());
        match outcome {
            Ok(outcome) => {
                self.metrics.pass("ok", started.elapsed());
                self.note(cause, &outcome);
                self.readiness.reached();
                self.open_ways(&outcome.done);
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
            self.clocks.retry = Some(clock::instant() + self.clocks.patience);
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
        [self.remember, self.retry, self.due]
            .into_iter()
            .flatten()
            .fold(fixed, Instant::min)
    }
}
