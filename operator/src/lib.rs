//! lvs-operator: VirtualServices and RealServers in, Placements and conditions out.
//!
//! ```text
//! collect (IO) ─ Snapshot ─► validate ─ Validated ─► place ─ Placed ─► status ─ Decisions ─► apply (IO)
//! ```
//!
//! One pass looks at everything and says what to write; nothing is remembered between passes, so a crash at any step,
//! a stale view or a second operator costs a pass and never safety. [`reconcile`] is the whole core: no IO, no clock.
//!
//! What may not happen here: a decision from an incomplete view ([`collect`] hands out none), a write to a Placement
//! that does not carry the `resourceVersion` it was decided on, an assumption that no other operator runs.
#![forbid(unsafe_code)]

pub mod admin;
pub mod apply;
pub mod args;
pub mod collect;
pub mod controller;
pub mod metrics;
pub mod place;
pub mod run;
pub mod settings;
pub mod snapshot;
pub mod status;
pub mod validate;
pub mod view;
pub mod write;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use settings::Settings;
pub use snapshot::{Key, Meta, Objects, Snapshot, Stored};
pub use write::{Decisions, EventKind, EventWrite, StatusWrite, Write};

/// What one look at the world asks to be written, and when to look again though nothing changed.
///
/// # Guarantees
/// Same snapshot and time, same decisions. An applied decision is not decided again: once the writes are visible and
/// the agents have reported, `writes` is empty.
pub fn reconcile(snapshot: &Snapshot, now: jiff::Timestamp) -> Decisions {
    let view = view::View::new(snapshot, now);
    let validated = validate::validate(&view);
    let placed = place::place(&view, &validated);
    let said = status::status(&view, &validated, &placed);
    Decisions {
        writes: placed.writes.into_iter().chain(said.writes).collect(),
        next_deadline: view.next_deadline(),
        refusals: said.refusals,
    }
}
