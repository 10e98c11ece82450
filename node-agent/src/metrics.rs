//! Metrics of the agent, in Prometheus' text form.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::desired::is_for_probes;
use crate::plan::Change;

mod health;
mod leaving;

pub use health::HealthMetrics;
pub use leaving::LeavingMetrics;

/// One label, named for what it tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// All metrics of the agent; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    passes: Family<Outcome, Counter>,
    pass_seconds: Histogram,
    changes: Family<Kind, Counter>,
    drift: Family<Kind, Counter>,
    refusals: Family<Kind, Counter>,
    flushes: Counter,
    status_writes: Family<Outcome, Counter>,
    placements: Gauge<i64, AtomicI64>,
    source_ports: Gauge<f64, AtomicU64>,
    /// Of health checks.
    pub health: HealthMetrics,
    /// Of real servers that leave.
    pub leaving: LeavingMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lvs_agent");
        let metrics = Self {
            passes: Family::default(),
            pass_seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
            changes: Family::default(),
            drift: Family::default(),
            refusals: Family::default(),
            flushes: Counter::default(),
            status_writes: Family::default(),
            placements: Gauge::default(),
            source_ports: Gauge::default(),
            health: HealthMetrics::register(&mut registry),
            leaving: LeavingMetrics::register(&mut registry),
            registry: Arc::default(),
        };
        registry.register("passes", "Passes, by result", metrics.passes.clone());
        registry.register("pass_duration_seconds", "Time of a pass", metrics.pass_seconds.clone());
        registry.register(
            "kernel_changes",
            "Changes that the kernel took, by kind",
            metrics.changes.clone(),
        );
        registry.register(
            "kernel_drift",
            "Of these, repairs of what somebody else changed",
            metrics.drift.clone(),
        );
        registry.register(
            "kernel_refusals",
            "Changes that the kernel refused, by kind",
            metrics.refusals.clone(),
        );
        registry.register(
            "ipvs_count_mismatches",
            "Looks that found another number of services than known: a flush, or somebody's change",
            metrics.flushes.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of a Placement's status, by result",
            metrics.status_writes.clone(),
        );
        registry.register("placements", "Placements of this node", metrics.placements.clone());
        registry.register(
            "full_nat_source_ports_used_ratio",
            "Share of FullNAT's source ports in use, 0 to 1, towards that port of a real server where it is greatest",
            metrics.source_ports.clone(),
        );
        registry.register(
            "build",
            "This program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: Arc::new(registry),
            ..metrics
        }
    }
}

impl Metrics {
    /// A pass ended.
    pub fn pass(&self, result: &'static str, took: Duration) {
        self.passes.get_or_create(&Outcome { result }).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// The kernel took a change.
    pub fn changed(&self, change: &Change) {
        self.changes.get_or_create(&Kind { kind: kind(change) }).inc();
    }

    /// A change repaired what somebody else did.
    pub fn repaired(&self, change: &Change) {
        self.drift.get_or_create(&Kind { kind: kind(change) }).inc();
    }

    /// The kernel refused a change.
    pub fn refused(&self, change: &Change) {
        self.refusals.get_or_create(&Kind { kind: kind(change) }).inc();
    }

    /// The cheap look found a difference.
    pub fn count_mismatch(&self) {
        self.flushes.inc();
    }

    /// A status was written, or not.
    pub fn status_write(&self, result: &'static str) {
        self.status_writes.get_or_create(&Outcome { result }).inc();
    }

    /// How many Placements there are.
    pub fn placements(&self, count: usize) {
        self.placements.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The greatest share of source ports in use.
    pub fn source_ports(&self, share: f64) {
        self.source_ports.set(share);
    }

    /// Everything, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _: fmt::Result = encode(&mut text, &self.registry);
        text
    }
}

/// The subsystem of a change.
pub fn kind(change: &Change) -> &'static str {
    match change {
        Change::SetSysctl { .. } | Change::RestoreSysctl { .. } => "sysctl",
        Change::AddAddress { .. } | Change::DeleteAddress { .. } => "address",
        Change::Announce { .. } => "announcement",
        Change::SetTimeouts { .. } => "ipvs_timeouts",
        Change::Tunnel(change) => match change.device() {
            Some(_) => "tunnel",
            None => "gue_port",
        },
        Change::GrowRuleset(_) | Change::ShrinkRuleset(_) => "ruleset",
        Change::Ipvs(change) if is_for_probes(&change.service()) => "ipvs_probe",
        Change::Ipvs(change) => match change.destination() {
            Some(_) => "ipvs_destination",
            None => "ipvs_service",
        },
    }
}
