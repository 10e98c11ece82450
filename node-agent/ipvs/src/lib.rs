//! IPVS as values and bytes.
//!
//! ```text
//!  desired: Table ─┐
//!                  ├─ diff ──► [Change] ──► Operation ──► IpvsMessage ──► bytes     (generic netlink family "IPVS")
//!  observed: Table ┘              │                            ▲
//!     ▲                           └─ Display: ipvsadm lines    │ replies, captured bytes
//!     └────────── (ServiceKey, ServiceConfig), (DestinationKey, DestinationConfig) ◄──┘
//! ```
//!
//! Invariants: no IO and no clock (the nested `.clippy.toml` bans them, the dependency list has no socket); `diff` and
//! the decoders are total (no bytes make them panic, unknown attributes survive as `Other`); `diff(x, x)` is empty
//! and applying `diff(d, o)` to `o` gives `d`; nothing is deleted in order to be re-added.

#![forbid(unsafe_code)]

#[cfg(test)]
mod arbitrary;
pub mod attribute;
pub mod diff;
pub mod errno;
pub mod fake;
pub mod ipvsadm;
pub mod message;
pub mod normalize;
pub mod operation;
pub mod table;
pub mod uapi;

pub use diff::{Change, diff, diff_service};
pub use errno::{Errno, Meaning, Verb, meaning};
pub use fake::FakeIpvs;
pub use message::{Activity, Command, IpvsMessage};
pub use operation::{Operation, random_operations};
pub use table::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Netmask, Protocol, Scheduler, Service, ServiceConfig,
    ServiceFlags, ServiceKey, Table, Timeouts, Tunnel, TunnelFlags, TunnelType,
};
