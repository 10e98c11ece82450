//! Who lives, and what is to be believed of those that are silent.

use super::View;
use crate::snapshot::{LeaseFacts, StoredPlacement};
use crds::names::{LEASE_RENEW_SECONDS, LEASE_SECONDS, SILENT_DIRECTOR_SECONDS};
use jiff::{SignedDuration, Timestamp};

impl<'a> View<'a> {
    /// The Node object is gone: nobody there can confirm anything.
    pub fn is_gone(&self, node: &str) -> bool {
        !self.snapshot.nodes.contains_key(node)
    }

    /// The node is gone, or an administrator says that it is off.
    pub fn is_off(&self, node: &str) -> bool {
        self.snapshot.nodes.get(node).is_none_or(|facts| facts.out_of_service)
    }

    pub(super) fn lease(&self, node: &str) -> Option<&'a LeaseFacts> {
        self.snapshot.leases.get(node)
    }

    /// Whether the node's agent gave a sign of life lately.
    pub fn is_fresh(&self, node: &str) -> bool {
        let age = self.renewed(node).map(|renewed| self.now.duration_since(renewed));
        age.is_some_and(|age| age < SignedDuration::from_secs(LEASE_SECONDS.into()))
    }

    /// Whether the node's agent has been silent for so long that a host part no longer waits for it: whatever it drained
    /// is over, too. An agent that never had a Lease is not silent: nobody knows since when.
    ///
    /// Measured against the newest sign of life of any agent, which must be fresh itself: Leases are one kind with one
    /// order of versions, so a newer one proves that this one is not merely late in a watch that hangs. Where no agent
    /// lives, none would withdraw anything.
    pub fn is_silent(&self, node: &str) -> bool {
        let lease = SignedDuration::from_secs(LEASE_SECONDS.into());
        let proof = self
            .newest_sign
            .filter(|newest| self.now.duration_since(*newest) < lease);
        let silence = proof
            .zip(self.renewed(node))
            .map(|(newest, renewed)| newest.duration_since(renewed));
        silence.is_some_and(|silence| silence >= self.patience(node))
    }

    /// When the node's Lease was renewed last.
    pub fn renewed(&self, node: &str) -> Option<Timestamp> {
        self.lease(node)?.renewed
    }

    /// Whether the status was written in the boot that the node's Lease names.
    pub fn counts(&self, placement: &StoredPlacement) -> bool {
        let lease = self.lease(&placement.spec.node_name);
        let boot = lease.and_then(|lease| lease.boot_id.as_deref());
        boot.is_some() && placement.status.boot_id.as_deref() == boot
    }

    /// Whether the agent has worked on the spec as it is now.
    pub fn is_settled(&self, placement: &StoredPlacement) -> bool {
        self.counts(placement) && placement.status.observed_generation == Some(placement.meta.generation)
    }

    /// When a Lease runs out, or a silent director has been waited for long enough; and until others' signs of life have
    /// proven that, every time that they are due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let lease = SignedDuration::from_secs(LEASE_SECONDS.into());
        let renewal = SignedDuration::from_secs(i64::try_from(LEASE_RENEW_SECONDS).unwrap_or(i64::MAX));
        let nodes = self.snapshot.leases.iter().filter(|(node, _)| !self.is_silent(node));
        let looks = nodes.filter_map(|(node, facts)| {
            let ends = [
                facts.renewed?.checked_add(lease),
                facts.renewed?.checked_add(self.patience(node)),
            ];
            let next = ends.into_iter().flatten().find(|end| *end > self.now);
            next.or_else(|| self.now.checked_add(renewal).ok())
        });
        looks.min()
    }

    /// For how long a host part waits for a silent director: nobody knows which of its drains it had just begun.
    fn patience(&self, node: &str) -> SignedDuration {
        let drain = self.longest_drains.get(node).copied().unwrap_or_default();
        SignedDuration::from_secs(i64::from(LEASE_SECONDS) + SILENT_DIRECTOR_SECONDS).saturating_add(drain)
    }
}
