//! Health of real servers as values: evidence and time in, verdicts, weights and decisions out.
//!
//! ```text
//!  probe results ─► Check ─► Verdict ──┐
//!                     │                ├─ Quorum ─► Serving: real servers or sorry server
//!                     │                ├─ SlowStart: it came up
//!                     │                └─ Drain: it leaves
//!                     └► Remembered ─► disk ─► Check
//! ```
//!
//! Invariants: no IO and no clock (the nested `.clippy.toml` bans them); every function is total: no order of calls
//! and no time makes one panic; no random numbers, so that the same input gives the same output; no more transitions
//! than the evidence allows; a drain always ends.
//!
//! Words are keepalived's where it has one: `retry`, `delay_before_retry`, `delay_loop`, `alpha`, `quorum`,
//! `hysteresis`, `sorry_server`, `inhibit_on_failure` (keepalived.conf(5)).

#![forbid(unsafe_code)]

mod check;
mod damping;
mod drain;
mod moment;
mod pace;
mod quorum;
mod schedule;
mod slow_start;

pub use check::{Attempt, Check, Outcome, Remembered, Transition, Verdict};
pub use damping::Damping;
pub use drain::{Decision, Drain};
pub use moment::{Moment, OfBoot};
pub use pace::Pace;
pub use quorum::{Quorum, QuorumState, Serving, SorryServer};
pub use schedule::Phase;
pub use slow_start::{Ramp, SlowStart, Weights};
