//! What the node's agent reports of each part: the kernel as it was read back.

use crate::lvs::Role;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a director's kernel holds for the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorReport {
    /// VIPs of which the kernel holds anything of ours: the address, or a service on it.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<DirectorAddressReport>,
    /// Real servers of the spec, and those that are still in the kernel without being in the spec.
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub real_servers: Vec<RealServerReport>,
}

/// A VIP that a director holds something of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorAddressReport {
    /// The VIP.
    #[schemars(length(max = 45))]
    pub address: String,
    /// Active: the address is on the interface. Backup: only services are there.
    pub role: Role,
}

/// A real server as a director's kernel has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerReport {
    /// The RealServer's name; its address when it is no longer in the spec.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its addresses, as destinations.
    #[schemars(length(max = 2), inner(length(max = 45)))]
    pub addresses: Vec<String>,
    /// What it is in the table.
    pub state: DestinationState,
}

/// What a real server is in a director's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DestinationState {
    /// In the table as the spec says.
    Serving,
    /// Not in the table: its host is not proven ready.
    Unprepared,
    /// Should be in the table and is not, or not on every VIP and port: the kernel refused it, or the pass is not done.
    Pending,
    /// Still in the table, and not in the spec.
    Leaving,
}

/// What a host's kernel holds for the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// VIPs of the spec that the host holds, and those that are still there without being in the spec. A withdrawn one
    /// that is gone is not listed.
    #[schemars(length(max = 64), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<String>,
    /// How far the host is: one entry for each of the spec's real servers, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub real_servers: Vec<HostRealServerReport>,
}

/// How far a host is for one of its real servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRealServerReport {
    /// The RealServer's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The VIPs for which everything that its forwarding method needs was read back in this boot.
    #[schemars(length(max = 32), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub prepared: Vec<String>,
    /// What is missing, for people; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// What a node's kernel holds of its membership in a DirectorGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouterReport {
    /// The node's own addresses, VIPs excepted: what it wraps tunnel packets with, and what routes may lead to.
    #[schemars(length(max = 128), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<String>,
}
