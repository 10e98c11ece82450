//! What is worth a warning about a service that serves: conditions that are there only while they are True.

use super::Looked;
use crate::validate::some_of;
use crds::conditions::{CLIENT_ADDRESS_HIDDEN, Verdict, WITHOUT_FALLBACK, reason};
use crds::{DirectorPart, ForwardingMethod, PlacedRealServer, PlacedService, Scheduler, SchedulerFlag};
use std::collections::BTreeSet;

impl Looked<'_> {
    /// The warnings that stand.
    pub(super) fn warnings(&self) -> impl Iterator<Item = (&'static str, Verdict)> {
        let hidden = self.hidden_clients().map(|verdict| (CLIENT_ADDRESS_HIDDEN, verdict));
        let bare = self.without_fallback().map(|verdict| (WITHOUT_FALLBACK, verdict));
        hidden.into_iter().chain(bare)
    }

    fn parts(&self) -> impl Iterator<Item = &DirectorPart> {
        let placements = self.directors.iter();
        placements.filter_map(|placement| placement.spec.director.as_ref())
    }

    /// Condition ClientAddressHidden, while any real server is in a table by FullNAT.
    fn hidden_clients(&self) -> Option<Verdict> {
        let by_full_nat = |entry: &&PlacedRealServer| {
            entry.forwarding_method == ForwardingMethod::FullNAT && !entry.prepared.is_empty()
        };
        let names = self.parts().flat_map(|part| &part.real_servers).filter(by_full_nat);
        let names: BTreeSet<String> = names.map(|entry| entry.name.clone()).collect();
        if names.is_empty() {
            return None;
        }
        let names: Vec<String> = names.into_iter().collect();
        let message = format!(
            "FullNAT: {} see the director's address and not the client's, and connections through it end at a failover",
            some_of(&names)
        );
        Some(Verdict::yes(reason::FULL_NAT, message))
    }

    /// Condition WithoutFallback, while a scheduler that hashes clients has no fallback.
    fn without_fallback(&self) -> Option<Verdict> {
        let mut services = self.parts().flat_map(|part| &part.services);
        let (scheduler, flag) = services.find_map(lacking_fallback)?;
        let message = format!(
            "{scheduler} without {flag}: clients of a real server at weight 0, draining or above its threshold are refused. Add {flag} to schedulerFlags, or leave schedulerFlags out"
        );
        Some(Verdict::yes(reason::SCHEDULER_FLAGS, message))
    }
}

/// A hash, and the flag without which it refuses the share of a real server that takes no new connections.
const FALLBACKS: [(Scheduler, SchedulerFlag, &str); 2] = [
    (Scheduler::Sh, SchedulerFlag::ShFallback, "sh-fallback"),
    (Scheduler::Mh, SchedulerFlag::MhFallback, "mh-fallback"),
];

fn lacking_fallback(service: &PlacedService) -> Option<(&'static str, &'static str)> {
    let lacks = |(scheduler, flag, _): &(Scheduler, SchedulerFlag, &str)| {
        *scheduler == service.scheduler && !service.scheduler_flags.contains(flag)
    };
    let (scheduler, _, flag) = FALLBACKS.into_iter().find(lacks)?;
    Some((scheduler.as_str(), flag))
}
