//! A node's part as a member of a DirectorGroup.

use crate::director_group::{Masquerade, Timeouts};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Membership of a DirectorGroup: what its services share on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouterPart {
    /// Source NAT for networks of real servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub masquerade: Vec<Masquerade>,
    /// Idle timeouts of connections; absent = as the kernel has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Take it back. The part stays until the status no longer holds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdraw: bool,
}
