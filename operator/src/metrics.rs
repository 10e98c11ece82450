//! What this program counts about itself.

use crate::collect::Source;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Written {
    kind: &'static str,
    result: &'static str,
}

/// All metrics; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Counter,
    duration: Histogram,
    errors: Family<Failure, Counter>,
    writes: Family<Written, Counter>,
    refusals: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lvs_operator");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What this program was built from", build);
        let reconciles = Counter::default();
        registry.register("reconciles", "Looks at the whole state", reconciles.clone());
        let duration = Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        registry.register_with_unit(
            "reconcile_duration",
            "Time to decide, without writing",
            Unit::Seconds,
            duration.clone(),
        );
        let errors = Family::default();
        registry.register("errors", "Failed watches and writes, by error", errors.clone());
        let writes = Family::default();
        registry.register("writes", "Writes to the API, by kind and result", writes.clone());
        let refusals = Gauge::default();
        registry.register("refusals", "Objects that stand refused", refusals.clone());
        Self {
            registry: Arc::new(registry),
            reconciles,
            duration,
            errors,
            writes,
            refusals,
        }
    }
}

impl Metrics {
    /// A look was taken.
    pub fn reconciled(&self, took: Duration, refusals: usize) {
        self.reconciles.inc();
        self.duration.observe(took.as_secs_f64());
        self.refusals.set(i64::try_from(refusals).unwrap_or(i64::MAX));
    }

    /// A write was tried.
    pub fn wrote(&self, kind: &'static str, result: &'static str) {
        self.writes.get_or_create(&Written { kind, result }).inc();
    }

    /// Something failed, by the name of the error.
    pub fn failed(&self, error: &'static str) {
        let error = error.to_owned();
        self.errors.get_or_create(&Failure { error }).inc();
    }

    /// A watch failed.
    pub fn watch_failed(&self, source: Source) {
        let error = format!("Watch{source:?}");
        self.errors.get_or_create(&Failure { error }).inc();
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
