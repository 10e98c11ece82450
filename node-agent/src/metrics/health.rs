//! Metrics of health checks.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use health::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Outcome;
use crate::checks::Asked;
use crate::probe::Failure;

/// What is probed, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    target: String,
    /// Tells those apart that ask the same target for something else.
    check: String,
}

/// A verdict, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Turned {
    verdict: &'static str,
}

/// Clones count together.
#[derive(Clone, Debug)]
pub struct HealthMetrics {
    up: Family<Target, Gauge<i64, AtomicI64>>,
    transitions: Family<Turned, Counter>,
    seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    late: Histogram,
}

impl HealthMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Family::default(),
            transitions: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 4.0, 9))),
            late: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
        };
        let help = "Whether a target passes its health check";
        registry.register("healthcheck_up", help, metrics.up.clone());
        let help = "Verdicts that changed, by the new one";
        registry.register("healthcheck_transitions", help, metrics.transitions.clone());
        let help = "Time of a probe, by result";
        registry.register("healthcheck_duration_seconds", help, metrics.seconds.clone());
        let help = "Time from when a probe was due until it began: a node without time for its probes";
        registry.register("healthcheck_lateness_seconds", help, metrics.late.clone());
        metrics
    }

    /// What is believed of a target that is probed from now on, by a check of this name.
    pub fn believed(&self, asked: &Asked, name: &str, verdict: Verdict) {
        let up = self.up.get_or_create(&target(asked, name));
        up.set(i64::from(verdict == Verdict::Up));
    }

    /// A verdict changed.
    pub fn turned(&self, asked: &Asked, name: &str, verdict: Verdict) {
        self.believed(asked, name, verdict);
        let verdict = match verdict {
            Verdict::Up => "up",
            Verdict::Down => "down",
        };
        self.transitions.get_or_create(&Turned { verdict }).inc();
    }

    /// A target is probed no more.
    pub fn gone(&self, asked: &Asked, name: &str) {
        self.up.remove(&target(asked, name));
    }

    /// A probe ended, which had begun so late.
    pub fn probed(&self, outcome: &Result<(), Failure>, late: Duration, took: Duration) {
        self.late.observe(late.as_secs_f64());
        let result = match outcome {
            Ok(()) => "passed",
            // No evidence of the target, see [`health::Check::unmade`].
            Err(failure) if failure.is_ours() => "unmade",
            Err(_) => "failed",
        };
        let seconds = self.seconds.get_or_create(&Outcome { result });
        seconds.observe(took.as_secs_f64());
    }
}

fn target(asked: &Asked, name: &str) -> Target {
    Target {
        target: asked.to_string(),
        check: name.chars().take(8).collect(),
    }
}
