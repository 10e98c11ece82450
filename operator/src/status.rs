//! What is said about every object: conditions, summaries, Events. Pure; derived from the same look as the placements.
//!
//! A status is written only when it differs from the stored one, and holds nothing that changes by itself. Messages say
//! what to do. Reports of an agent count only while its Lease is fresh and names the boot that reported.

mod group;
mod real_server;
mod service;
#[cfg(test)]
mod tests;

use crate::place::Placed;
use crate::snapshot::{Meta, StoredPlacement};
use crate::validate::{Validated, unreadable_refusal};
use crate::view::View;
use crate::write::{EventKind, EventWrite, StatusWrite, Write};
use crds::conditions::{ACCEPTED, HEALTHY, PROGRAMMED, READY, RESOLVED_REFS, STALLED, Verdict, find, reason, settle};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// What is to be told.
#[derive(Debug, Default)]
pub struct Said {
    /// Status writes and, behind them, Events.
    pub writes: Vec<Write>,
    /// How many objects stand refused.
    pub refusals: usize,
}

/// Derives every status, and the Events that their changes are worth.
pub fn status(view: &View<'_>, validated: &Validated, placed: &Placed) -> Said {
    let mut said = Said::default();
    let mut events = Vec::new();
    let services = service::all(view, validated, placed);
    for statement in services
        .into_iter()
        .chain(real_server::all(view, validated))
        .chain(group::all(view, validated, placed))
    {
        said.refusals += usize::from(find(&statement.new, STALLED).is_some());
        events.extend(statement.events().map(Write::Event));
        said.writes.extend(statement.write.map(Write::Status));
    }
    said.writes.extend(events);
    said
}

/// What is said about one object, against what was said before.
struct Statement {
    kind: &'static str,
    meta: Meta,
    old: Vec<Condition>,
    new: Vec<Condition>,
    /// Nothing when the stored status says the same.
    write: Option<StatusWrite>,
}

impl Statement {
    fn events(&self) -> impl Iterator<Item = EventWrite> {
        self.refusals().chain(self.health())
    }

    /// One Event for each refusal that is new or has another reason, and for each that is over.
    fn refusals(&self) -> impl Iterator<Item = EventWrite> {
        let both = [ACCEPTED, RESOLVED_REFS].into_iter();
        both.filter_map(|type_| {
            let new = find(&self.new, type_)?;
            let old = find(&self.old, type_);
            let refused_before = old.filter(|old| old.status == "False");
            let severity = match new.status.as_str() {
                "False" if refused_before.is_none_or(|old| old.reason != new.reason) => EventKind::Warning,
                "True" if refused_before.is_some() => EventKind::Normal,
                _ => return None,
            };
            let reason = match severity {
                EventKind::Warning => &new.reason,
                EventKind::Normal => type_,
            };
            Some(self.event(severity, "Validate", reason, &new.message))
        })
    }

    /// One Event when probes turn the verdict; other words for the same verdict are in the status only.
    fn health(&self) -> Option<EventWrite> {
        let new = find(&self.new, HEALTHY)?;
        if find(&self.old, HEALTHY).is_none_or(|old| old.status == new.status) || new.reason == reason::NOT_REQUIRED {
            return None;
        }
        match new.status.as_str() {
            "True" => Some(self.event(EventKind::Normal, "Probe", HEALTHY, &new.message)),
            "False" => Some(self.event(EventKind::Warning, "Probe", reason::UNHEALTHY, &new.message)),
            _ => None,
        }
    }

    fn event(&self, severity: EventKind, action: &'static str, reason: &str, note: &str) -> EventWrite {
        EventWrite {
            kind: self.kind,
            key: self.meta.key.clone(),
            uid: self.meta.uid.clone(),
            severity,
            action,
            reason: reason.to_owned(),
            note: note.to_owned(),
        }
    }
}

/// The conditions of an object: the verdicts, and Stalled when one of Accepted and ResolvedRefs is False.
fn conditions(
    old: &[Condition],
    verdicts: Vec<(&'static str, Verdict)>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut verdicts = verdicts;
    let mut blocking = verdicts
        .iter()
        .filter(|(type_, _)| *type_ == ACCEPTED || *type_ == RESOLVED_REFS);
    if let Some((_, blocked)) = blocking.find(|(_, verdict)| verdict.status == "False") {
        let stalled = Verdict::yes(blocked.reason, blocked.message.clone());
        verdicts.push((STALLED, stalled));
    }
    settle(old, verdicts, Some(generation), seconds(now))
}

/// Times are kept in whole seconds, as Kubernetes writes them.
fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The conditions of an object that cannot be read: it is refused, and what else was said of it stands.
fn unreadable(old: &[Condition], error: &str, generation: i64, now: Timestamp) -> Vec<Condition> {
    let refusal = unreadable_refusal(error);
    let verdict = Verdict::no(refusal.reason, refusal.message);
    let mut new = conditions(
        old,
        vec![(ACCEPTED, verdict.clone()), (READY, verdict)],
        generation,
        now,
    );
    let stands = old.iter().filter(|condition| find(&new, &condition.type_).is_none());
    let stands: Vec<Condition> = stands.cloned().collect();
    new.extend(stands);
    sorted(&new)
}

/// The API server keeps map lists in an order of its own; ours is by type.
fn sorted(conditions: &[Condition]) -> Vec<Condition> {
    let mut sorted = conditions.to_vec();
    sorted.sort_by(|a, b| a.type_.cmp(&b.type_));
    sorted
}

/// What an agent says of the whole Placement, in our words; an agent of another version may have reasons of its own.
fn programmed(placement: &StoredPlacement) -> Verdict {
    const KNOWN: [&str; 8] = [
        reason::INVALID,
        reason::ADDRESS_CONFLICT,
        reason::KERNEL_REFUSED,
        reason::MODULE_MISSING,
        reason::UNKNOWN_FIELD,
        reason::FOREIGN_ENTRY,
        reason::ADDRESS_IN_USE,
        reason::PENDING,
    ];
    let node = &placement.spec.node_name;
    match find(&placement.status.conditions, PROGRAMMED) {
        Some(said) if said.status == "True" => Verdict::yes(reason::OK, format!("{node} read it back")),
        Some(said) => {
            let known = KNOWN.into_iter().find(|known| *known == said.reason);
            Verdict::no(known.unwrap_or(reason::PENDING), format!("{node}: {}", said.message))
        }
        None => Verdict::no(reason::PENDING, format!("{node} has not reported yet")),
    }
}

/// What the agent of a Placement's node says of it, if it says anything about what it is told now.
fn reported(view: &View<'_>, placed: &Placed, placement: &StoredPlacement) -> Verdict {
    let node = &placement.spec.node_name;
    if !view.is_fresh(node) {
        return agent_lost(node);
    }
    if let Some(refused) = not_understood(view, placement) {
        return refused;
    }
    if placed.touched.contains(&placement.meta.key) || !view.is_settled(placement) {
        let message = format!("{node} has not reported on its latest Placement yet");
        return Verdict::no(reason::PENDING, message);
    }
    programmed(placement)
}

/// What an agent says of a spec that it does not know, and therefore never settles.
fn not_understood(view: &View<'_>, placement: &StoredPlacement) -> Option<Verdict> {
    let said = find(&placement.status.conditions, PROGRAMMED)?;
    let is_latest = said.observed_generation == Some(placement.meta.generation) && view.counts(placement);
    (is_latest && said.reason == reason::UNKNOWN_FIELD).then(|| programmed(placement))
}

fn agent_lost(node: &str) -> Verdict {
    let message =
        format!("the agent of {node} is silent: what it programmed goes on; look after lvs-agent on that node");
    Verdict::unknown(reason::AGENT_LOST, message)
}

/// A few names joined, as a print column has room for.
fn column(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown}+{more}"),
        Some(_) | None => shown,
    }
}
