//! A node's part as the host of real servers: its flags follow the second rule of [`super`].

use crate::lvs::{ForwardingMethod, Tunnel};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Host of real servers: which VIPs it must accept silently, and how packets arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostPart {
    /// The VIPs: on `lo` for real servers by DR, on the tunnel device for those by TUN.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<HostAddress>,
    /// The real servers on this host, the leaving ones included: by their addresses the operator sees whether a director
    /// still sends here. One whose method changes is here twice until the old way has left.
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub real_servers: Vec<HostRealServer>,
    /// The directors' own addresses: nobody else's tunnel packets are unwrapped, and replies of NAT real servers must be
    /// routed to one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub directors: Vec<String>,
}

/// A VIP that a host accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostAddress {
    /// The VIP.
    #[schemars(length(max = 45))]
    pub address: String,
    /// It is going; the agent still keeps it, and no director may begin to use it. See the module's second rule.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Take it back: no director sends here any more. The entry stays until the status no longer lists the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdraw: bool,
}

/// A real server on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRealServer {
    /// The RealServer's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its addresses.
    #[schemars(length(min = 1, max = 2), inner(length(max = 45)))]
    pub addresses: Vec<String>,
    /// How packets reach it.
    pub forwarding_method: ForwardingMethod,
    /// How TUN wraps them; IPIP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// It is going, or is to be reached in another way; the agent still keeps what it needs, and no director may begin to
    /// send to it by this one. See the module's second rule.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}
