//! Makes the probes: a task of the agent's runtime that owns every [`Check`], so that no real server can hold up the loop,
//! and the loop none of the probes.
//!
//! It takes orders, and says what is believed when that changes. Time comes from here alone.

mod descriptors;
mod memory;
mod probed;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use health::{Check, Moment, Outcome, Phase, Remembered};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

pub use self::descriptors::most_at_once;
pub use self::memory::Memory;
use self::memory::Page;
use self::probed::{Begun, Done, Probed, belief};
use crate::agent::Wake;
use crate::checks::{Asked, Belief, Order, Way, Ways};
use crate::clock::{self, Clock};
use crate::metrics::HealthMetrics;
use crate::probe::probe;

/// A probe keeps its own timeout, and says best what it waited for; one that has said nothing so long after is given up.
const GRACE: Duration = Duration::from_millis(500);

/// So long what waits for its way is not looked at again, unless ways are opened.
const UNTIL_OPEN: Duration = Duration::from_secs(60);

/// What is believed is written down so long after it changed, changes of a moment together.
const WRITE_AFTER: Duration = Duration::from_millis(200);

/// Everything that the checker is made of.
#[derive(Debug)]
pub struct Parts {
    /// What to probe.
    pub orders: UnboundedReceiver<Order>,
    /// Where to say what is believed.
    pub wake: Sender<Wake>,
    /// Where it is remembered.
    pub memory: Memory,
    /// Metrics.
    pub metrics: HealthMetrics,
    /// So many probes run at once.
    pub most_at_once: usize,
}

/// Probes until nobody is left to give orders.
pub async fn run(parts: Parts) {
    let Parts {
        mut orders,
        wake,
        memory,
        metrics,
        most_at_once,
    } = parts;
    let (done, mut results) = unbounded_channel();
    let mut checker = Checker {
        clock: Clock::start(),
        wake,
        memory,
        metrics,
        most_at_once,
        done,
        probed: BTreeMap::new(),
        due: BTreeSet::new(),
        ways: Ways::default(),
        running: 0,
        write: None,
        writing: None,
    };
    loop {
        let sleep = checker.sleep();
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => checker.take(order),
                None => break,
            },
            Some(result) = results.recv() => checker.conclude(result),
            () = tokio::time::sleep(sleep) => {}
        }
        // What has arrived comes before what is overdue: a late agent is no fault of the real servers.
        while let Ok(result) = results.try_recv() {
            checker.conclude(result);
        }
        checker.tick();
    }
    checker.remember_last().await;
}

struct Checker {
    clock: Clock,
    wake: Sender<Wake>,
    memory: Memory,
    metrics: HealthMetrics,
    done: UnboundedSender<Done>,
    /// A key is shared with whatever else names it: there are ten thousand, and headers and certificates belong to them.
    probed: BTreeMap<Arc<Asked>, Probed>,
    due: BTreeSet<(Moment, Arc<Asked>)>,
    ways: Ways,
    running: usize,
    most_at_once: usize,
    /// When what is believed is to be written.
    write: Option<Moment>,
    /// The last that was, if it is not yet.
    writing: Option<JoinHandle<()>>,
}

impl Checker {
    fn sleep(&self) -> Duration {
        if self.running >= self.most_at_once {
            // The next result makes room.
            return GRACE;
        }
        let next = self.due.first().map(|(moment, _)| *moment);
        let next = next.into_iter().chain(self.write).min();
        let now = self.clock.moment();
        next.map_or(Duration::from_secs(60), |next| next.since(now))
    }

    fn take(&mut self, order: Order) {
        let now = self.clock.moment();
        match order {
            Order::Probe { asked, pace } => match self.probed.get_mut(&asked) {
                Some(probed) => {
                    self.running -= probed.abort();
                    probed.check.reconfigure(now, pace);
                    probed.timeout = pace.timeout;
                    self.settle(&asked);
                }
                None => {
                    let phase = Phase::of(hash(&asked));
                    let check = match self.memory.of(&asked) {
                        Some(remembered) => Check::restored(now, phase, pace, remembered),
                        None => Check::new(now, phase, pace),
                    };
                    let due = check.next();
                    let said = belief(&check);
                    let name = memory::name(&asked);
                    self.metrics.believed(&asked, &name, said.verdict);
                    let asked = Arc::new(asked);
                    self.due.insert((due, Arc::clone(&asked)));
                    let probed = Probed {
                        asked: Arc::clone(&asked),
                        name,
                        check,
                        timeout: pace.timeout,
                        due,
                        running: None,
                        said,
                    };
                    self.probed.insert(asked, probed);
                }
            },
            Order::Leave { asked } => {
                let Some(mut probed) = self.probed.remove(&asked) else {
                    return;
                };
                self.running -= probed.abort();
                self.metrics.gone(&asked, &probed.name);
                self.due.remove(&(probed.due, probed.asked));
                self.write_soon();
            }
            Order::Open { ways, anew } => self.open(ways, &anew),
        }
    }

    /// What waited for its way goes on waiting for its time alone, which may have come. What went astray is made again.
    fn open(&mut self, ways: Ways, anew: &BTreeSet<Way>) {
        self.ways = ways;
        let now = self.clock.moment();
        let mut waiting = Vec::new();
        for (asked, probed) in &mut self.probed {
            let Some(way) = &asked.way else { continue };
            if let Some((attempt, running)) = probed.running.take_if(|_| anew.contains(way)) {
                running.abort();
                self.running -= 1;
                probed.check.unmade(now, attempt);
            }
            if probed.running.is_none() {
                waiting.push(Arc::clone(asked));
            }
        }
        waiting.iter().for_each(|asked| self.settle(asked));
    }

    /// Begins what is due, and counts what overran.
    fn tick(&mut self) {
        let now = self.clock.moment();
        let mut begun: Vec<Begun> = Vec::new();
        while self.due.first().is_some_and(|(moment, _)| *moment <= now)
            && self.running + begun.len() < self.most_at_once
        {
            let Some((moment, asked)) = self.due.pop_first() else {
                break;
            };
            let Some(probed) = self.probed.get_mut(&asked) else {
                continue;
            };
            self.running -= probed.abort();
            drop(probed.check.overrun(now));
            let target = self.ways.target(&asked);
            probed.due = match target.map(|target| (probed.check.begin(now), target)) {
                // Nobody is asked before the way is open.
                None => now.after(UNTIL_OPEN),
                Some((Some(attempt), target)) => {
                    begun.push(Begun {
                        asked: Arc::clone(&asked),
                        attempt,
                        target,
                        due: moment,
                        timeout: probed.timeout,
                    });
                    // It is due when it is given up.
                    probed.check.next().after(GRACE)
                }
                Some((None, _)) => probed.check.next(),
            };
            self.due.insert((probed.due, Arc::clone(&asked)));
            self.tell(&asked);
        }
        for begun in begun {
            self.start(begun);
        }
        if self.write.is_some_and(|at| at <= now) {
            self.remember();
        }
    }

    fn start(&mut self, begun: Begun) {
        let Begun {
            asked,
            attempt,
            target,
            due,
            timeout,
        } = begun;
        let (done, since_boot) = (self.done.clone(), self.clock);
        let of = Arc::clone(&asked);
        let running = tokio::spawn(async move {
            let begin = clock::instant();
            let late = since_boot.at(begin).saturating_sub(due.elapsed());
            let outcome = probe(&of.probe, &target, timeout).await;
            let outcome = outcome.map_err(|failure| match &of.way {
                Some(way) if target.mark.is_some() => failure.by(way),
                Some(_) | None => failure,
            });
            let took = begin.elapsed();
            // Nobody listens only when the agent ends.
            let _: Result<(), _> = done.send(Done {
                asked: of,
                attempt,
                outcome,
                late,
                took,
            });
        });
        if let Some(probed) = self.probed.get_mut(&asked) {
            probed.running = Some((attempt, running));
            self.running += 1;
        }
    }

    fn conclude(&mut self, result: Done) {
        let Done {
            asked,
            attempt,
            outcome,
            late,
            took,
        } = result;
        let now = self.clock.moment();
        let Some(probed) = self.probed.get_mut(&asked) else {
            return;
        };
        if probed.running.take_if(|(running, _)| *running == attempt).is_none() {
            // It was given up before its word came.
            return;
        }
        self.running -= 1;
        self.metrics.probed(&outcome, late, took);
        match outcome {
            Ok(()) => drop(probed.check.conclude(now, attempt, Outcome::Passed)),
            Err(failure) if failure.is_ours() => {
                tracing::warn!(%asked, %failure, "a probe could not be made");
                probed.check.unmade(now, attempt);
            }
            Err(failure) => drop(
                probed
                    .check
                    .conclude(now, attempt, Outcome::Failed(failure.to_string())),
            ),
        }
        self.settle(&asked);
    }

    /// After a check moved: its place among the due ones, and what is to be said. Before now nothing is due: what waited for
    /// its way is not late.
    fn settle(&mut self, asked: &Asked) {
        let now = self.clock.moment();
        if let Some(probed) = self.probed.get_mut(asked) {
            let mut entry = (probed.due, Arc::clone(&probed.asked));
            self.due.remove(&entry);
            probed.due = probed.check.next().max(now);
            entry.0 = probed.due;
            self.due.insert(entry);
        }
        self.tell(asked);
    }

    fn tell(&mut self, asked: &Asked) {
        let Some(probed) = self.probed.get_mut(asked) else {
            return;
        };
        let Belief { verdict, words, tested } = &probed.said;
        let check = &probed.check;
        if (*verdict, words.as_str(), *tested) == (check.verdict(), check.words(), check.is_tested()) {
            return;
        }
        let now = belief(&probed.check);
        if now.verdict != probed.said.verdict {
            tracing::info!(%asked, verdict = ?now.verdict, words = now.words, "health");
            self.metrics.turned(asked, &probed.name, now.verdict);
        }
        probed.said = now.clone();
        // The loop ends before the checker only when the process ends.
        let _: Result<(), _> = self.wake.send(Wake::Health {
            asked: Box::new(asked.clone()),
            belief: now,
        });
        self.write_soon();
    }

    fn write_soon(&mut self) {
        let at = self.clock.moment().after(WRITE_AFTER);
        self.write.get_or_insert(at);
    }

    /// Writes what is believed beside the runtime: no probe, and nothing else of the agent's, waits for a disk.
    fn remember(&mut self) {
        self.write = None;
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            // A slow disk gets one at a time, and then the newest.
            self.write_soon();
            return;
        }
        let (page, verdicts) = (self.memory.page(), self.verdicts());
        self.writing = Some(tokio::task::spawn_blocking(move || write(&page, verdicts)));
    }

    /// The last time: after what is being written.
    async fn remember_last(&mut self) {
        if let Some(writing) = self.writing.take() {
            // It has said itself what went wrong.
            drop(writing.await);
        }
        write(&self.memory.page(), self.verdicts());
    }

    fn verdicts(&self) -> BTreeMap<String, Remembered> {
        let all = self.probed.values();
        all.map(|probed| (probed.name.clone(), probed.check.remember()))
            .collect()
    }
}

fn write(page: &Page, verdicts: BTreeMap<String, Remembered>) {
    if let Err(error) = page.write(verdicts) {
        tracing::error!(%error, "verdicts cannot be remembered: after a restart real servers are judged anew");
    }
}

/// The same number for the same target in every process of this version.
fn hash(asked: &Asked) -> u64 {
    let mut hasher = DefaultHasher::new();
    asked.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
