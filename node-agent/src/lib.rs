//! lvs-agent: converges one node's kernel to its Placements, and proves it by reading back.
//!
//! ```text
//!  Placements ──► desired ──┐                                    (pure)
//!  (API, or disk)           ├─► plan ──► apply ──► read back ──► report ──► Placement.status
//!  kernel ──────► observed ─┘   pure      IO          IO          pure
//! ```
#![deny(missing_docs)]

pub mod admin;
pub mod agent;
pub mod api;
pub mod args;
pub mod checker;
pub mod checks;
pub mod clock;
pub mod desired;
pub mod identity;
pub mod kernel;
pub mod ledger;
pub mod metrics;
pub mod observed;
pub mod pass;
pub mod placements;
pub mod plan;
pub mod probe;
pub mod report;
pub mod return_route;
pub mod ruleset;
pub mod run;
pub mod serving;
pub mod state;
pub mod tunnel;
pub mod view;
