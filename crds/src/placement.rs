//! Placement: what one node does for one subject. The operator writes `spec`, the node's agent writes `status`.
//!
//! Two operators may run at once, on stale views, and agents die at any moment; yet a VIP must never be on two nodes, and
//! a real server must not lose its VIP while a director still sends to it. Both are kept by raising a flag, then looking:
//!
//! * A director's address is placed `Reserved`, and made the node's own (`addressOwner: Node`) only by a writer that sees
//!   its reservation and no other node's Placement with that address. Writes carry the `resourceVersion` they decided on,
//!   and Placements are one kind with one order of versions, so of two reservations at least one writer sees both.
//! * What a host does for directors, a VIP that it accepts and the way by which packets reach a real server, is first marked
//!   `leaving`, and taken back only by a writer that sees the mark and no director that lists the real server with it: the
//!   VIP by `withdraw`, the way by leaving it out. A director lists a real server unprepared first, or names its `next` way
//!   beside the one that serves; VIPs enter `prepared`, and the way changes, only when the writer sees it so listed and
//!   nothing of it leaving on the host.

mod director;
mod host;
mod report;
mod router;

pub use director::{
    AddressOwner, DirectorAddress, DirectorPart, Forwarding, MarkedPort, PlacedRealServer, PlacedService, Takes,
};
pub use host::{HostAddress, HostPart, HostRealServer};
pub use report::{
    DestinationState, DirectorAddressReport, DirectorReport, HostRealServerReport, HostReport, RealServerReport,
    RouterReport,
};
pub use router::RouterPart;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one node does for one subject, by value. Machine-written: edit the VirtualService instead.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "lvs-operator.io", version = "v1alpha1", kind = "Placement", namespaced,
    status = "PlacementStatus", derive = "PartialEq", shortname = "ipl",
    selectable = ".spec.nodeName",
    printcolumn(name = "KIND", type_ = "string", json_path = ".spec.subject.kind"),
    printcolumn(name = "SUBJECT", type_ = "string", json_path = ".spec.subject.name"),
    printcolumn(name = "NODE", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "PARTS", type_ = "string", json_path = ".status.summary.parts"),
    printcolumn(name = "DESTINATIONS", type_ = "string", json_path = ".status.summary.destinations"),
    printcolumn(name = "PROGRAMMED", type_ = "string", json_path = r#".status.conditions[?(@.type=="Programmed")].status"#),
    printcolumn(name = "REASON", type_ = "string", json_path = r#".status.conditions[?(@.type=="Programmed")].reason"#),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = r#".status.conditions[?(@.type=="Programmed")].message"#, priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.nodeName == oldSelf.nodeName && self.subject == oldSelf.subject").message("nodeName and subject are immutable"))]
pub struct PlacementSpec {
    /// For whom the node does it.
    pub subject: Subject,
    /// The node. Its agent watches Placements by this field, and only its agent may write their status.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// The node's part as a director.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub director: Option<DirectorPart>,
    /// The node's part as the host of real servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_server: Option<HostPart>,
    /// The node's part as a member of a DirectorGroup: what all services of the group share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_router: Option<RouterPart>,
}

/// The object that a Placement exists for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Its kind.
    pub kind: SubjectKind,
    /// Its name, in the Placement's namespace.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// Kinds that Placements exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum SubjectKind {
    VirtualService,
    DirectorGroup,
}

impl SubjectKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VirtualService => "VirtualService",
            Self::DirectorGroup => "DirectorGroup",
        }
    }
}

/// What the node's kernel was read to hold. Written by the agent of `spec.nodeName`, on change only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// The `metadata.generation` that the last pass worked on, and read back after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The boot that this was read in (`/proc/sys/kernel/random/boot_id`); another boot's status counts as nothing.
    #[serde(rename = "bootID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,
    /// The director part as read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub director: Option<DirectorReport>,
    /// The host part as read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_server: Option<HostReport>,
    /// The membership as read back; absent when nothing of it is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_router: Option<RouterReport>,
    /// The print columns, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<PlacementSummary>,
    /// Programmed: True only after a read-back that found no difference. BlockedByFirewall, SourcePortsLow: present only while True.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Lists joined to text, because JSON paths of print columns cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementSummary {
    /// "director", "real server", or both.
    pub parts: String,
    /// "serving/all" of a director.
    pub destinations: String,
}
