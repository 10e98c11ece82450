//! Metrics of real servers that leave.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::serving::Place;

/// Clones count together.
#[derive(Clone, Debug, Default)]
pub struct LeavingMetrics {
    destinations: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
}

impl LeavingMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Destinations that keep their connections at weight 0 until none is left";
        registry.register("draining_destinations", help, metrics.destinations.clone());
        let help = "Connections that these had when they were counted last";
        registry.register("draining_connections", help, metrics.connections.clone());
        metrics
    }

    /// What drains, with the connections that are left.
    pub fn draining(&self, remaining: &BTreeMap<Place, u64>) {
        let connections = remaining.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        self.destinations
            .set(i64::try_from(remaining.len()).unwrap_or(i64::MAX));
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }
}
