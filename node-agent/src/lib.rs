//! lvs-agent: converges one node's kernel to its Placements, and proves it by reading back.
//!
//! ```text
//!  Placements ──► desired ──┐                                    (pure)
//!  (API, or disk)           ├─► plan ──► apply ──► read back ──► report ──► Placement.status
//!  kernel ──────► observed ─┘   pure      IO          IO          pure
//! ```
#![deny(missing_docs)]

pub mod desired;
pub mod kernel;
pub mod ledger;
pub mod observed;
pub mod pass;
pub mod plan;
pub mod report;
pub mod state;
pub mod view;
