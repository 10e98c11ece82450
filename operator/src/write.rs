//! Writes as values: what [`crate::reconcile`] asks for, and [`crate::apply`] or a simulation carries out.

use crate::snapshot::Key;
use crds::{DirectorGroupStatus, Placement, RealServerStatus, VirtualServiceStatus};
use jiff::Timestamp;

/// What one pass asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// In the order in which they are to be tried: Placements, statuses, events. A failed one stops no other.
    pub writes: Vec<Write>,
    /// When time alone may change the outcome; look again then.
    pub next_deadline: Option<Timestamp>,
    /// How many objects are refused now, for the metric.
    pub refusals: usize,
}

/// One write to the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A plain create. "Already exists" means that somebody else was first: look again, do nothing.
    CreatePlacement(Box<Placement>),
    /// Set spec, labels, finalizers and owner of the existing Placement to exactly these. `metadata.resourceVersion` is
    /// set, and the write must fail when the object has another one by now.
    ApplyPlacement(Box<Placement>),
    /// Take our finalizer off: nothing of it is left on its node.
    ReleasePlacement {
        /// Which.
        key: Key,
        /// Precondition.
        resource_version: String,
        /// The finalizers that remain: those of others.
        finalizers: Vec<String>,
    },
    /// Delete it; it has no finalizer of ours any more.
    DeletePlacement {
        /// Which.
        key: Key,
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: String,
    },
    /// Replace a status, by server-side apply: no precondition, the next pass corrects what a stale one wrote.
    Status(StatusWrite),
    /// Tell people.
    Event(EventWrite),
}

/// A whole status for one object.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum StatusWrite {
    VirtualService(Key, Box<VirtualServiceStatus>),
    RealServer(Key, Box<RealServerStatus>),
    DirectorGroup(String, Box<DirectorGroupStatus>),
}

/// An Event about an object of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventWrite {
    /// Kind of the object.
    pub kind: &'static str,
    /// Which object.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Whether it is trouble.
    pub severity: EventKind,
    /// What was done when this came out, as a verb.
    pub action: &'static str,
    /// The condition's reason.
    pub reason: String,
    /// What is so, and what to change.
    pub note: String,
}

/// Event types of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Recovery.
    Normal,
    /// Refusal, or a real server that is down.
    Warning,
}
