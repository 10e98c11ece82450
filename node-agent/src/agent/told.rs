//! What people are told of a pass: log, metrics, and Events about repairs.

use kube::runtime::events::EventType;

use super::{Agent, Cause};
use crate::api::{Happening, Say};
use crate::kernel::Kernel;
use crate::ledger::Journal;
use crate::pass::Outcome;
use crate::plan::Change;
use crate::report::Concern;

/// How many changes an Event names.
const NAMED: usize = 8;

impl<K: Kernel, J: Journal> Agent<K, J> {
    /// Log, metrics and Events of what the pass did.
    pub(super) fn note(&self, cause: Cause, outcome: &Outcome) {
        for change in &outcome.done {
            self.metrics.changed(change);
            tracing::info!(?cause, "{}", change.brief());
        }
        for (change, error) in &outcome.refusals {
            self.metrics.refused(change);
            tracing::warn!(?cause, %error, "refused: {}", change.brief());
        }
        if cause == Cause::Drift && !outcome.done.is_empty() {
            outcome.done.iter().for_each(|change| self.metrics.repaired(change));
            self.tell_repairs(&outcome.done);
        }
    }

    fn tell_repairs(&self, done: &[Change]) {
        for (key, placed) in &self.node.view().placements {
            let about = Concern::of(placed);
            let theirs: Vec<&Change> = done.iter().filter(|change| about.covers(change)).collect();
            if theirs.is_empty() {
                continue;
            }
            let lines: Vec<String> = theirs.iter().take(NAMED).map(|change| change.brief()).collect();
            let more = theirs.len().saturating_sub(NAMED);
            let more = if more == 0 {
                String::new()
            } else {
                format!("; and {more} more")
            };
            let event = Happening {
                type_: EventType::Warning,
                reason: "Repaired",
                action: theirs.first().map_or("Converge", |change| action(change)),
                note: format!("Somebody else changed this node; repaired: {}{more}", lines.join("; ")),
            };
            self.tell(Say::Event {
                about: key.clone(),
                event,
            });
        }
    }
}

/// The action of an Event about such a change.
fn action(change: &Change) -> &'static str {
    match change {
        Change::SetSysctl { .. } | Change::RestoreSysctl { .. } => "SetSysctl",
        Change::AddAddress { .. } | Change::DeleteAddress { .. } | Change::Announce { .. } => "SetAddress",
        Change::Ipvs(_) | Change::SetTimeouts { .. } => "SetIPVS",
        Change::Tunnel(_) => "SetTunnel",
        Change::GrowRuleset(_) | Change::ShrinkRuleset(_) => "SetRuleset",
    }
}
