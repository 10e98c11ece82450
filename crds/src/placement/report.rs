//! What the node's agent reports of each part: the kernel as it was read back.

use crate::lvs::Role;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
    /// Whether a service of the part has lost its quorum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub below_quorum: bool,
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
    /// What its health checks found that is down, of the first port that is; absent while nothing is known to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub unhealthy: Option<String>,
    /// Whether a health check of it has found out nothing yet: what is made of it rests on the check's `initialState`, or on
    /// what it was before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untested: bool,
    /// When its connections are cut that are left then; present while it drains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drains_until: Option<Time>,
}

/// What a real server is in a director's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DestinationState {
    /// In the table as the spec says.
    Serving,
    /// In the table, with a weight that still grows.
    SlowStart,
    /// Not in the table: its host is not proven ready.
    Unprepared,
    /// Its health checks took it out of the table on every port, or gave it weight 0 there.
    Down,
    /// In the table at weight 0: it leaves, and keeps its connections for a while.
    Draining,
    /// Not in the table: it left.
    Drained,
    /// Not in the table: the sorry server, while it is not needed; or another one, while the sorry server serves.
    StandingBy,
    /// Should be in the table and is not, or not on every VIP and port: the kernel refused it, or the pass is not done.
    Pending,
    /// Still in the table, and not in the spec.
    Leaving,
}

impl DestinationState {
    /// Whether it is in the table as the spec says, for new connections.
    pub fn is_serving(self) -> bool {
        match self {
            Self::Serving | Self::SlowStart => true,
            Self::Unprepared
            | Self::Down
            | Self::Draining
            | Self::Drained
            | Self::StandingBy
            | Self::Pending
            | Self::Leaving => false,
        }
    }

    /// Whether anything of it may be in the table, so that packets may reach its host.
    pub fn may_be_in_table(self) -> bool {
        match self {
            Self::Serving | Self::SlowStart | Self::Down | Self::Draining | Self::Pending | Self::Leaving => true,
            Self::Unprepared | Self::Drained | Self::StandingBy => false,
        }
    }
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
