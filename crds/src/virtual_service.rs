//! VirtualService: one `ipvsadm -A` for each address and port, with the real servers that a selector finds.

use crate::lvs::{ForwardingMethod, HealthCheck, Port, Role, Scheduler, Selector, VirtualAddress};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// VIPs and ports that directors balance over the RealServers which the selector finds in the same namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "lvs-operator.io", version = "v1alpha1", kind = "VirtualService", namespaced,
    status = "VirtualServiceStatus", derive = "PartialEq", shortname = "ivs", category = "ipvs",
    selectable = ".spec.directorGroupName",
    printcolumn(name = "VIP", type_ = "string", json_path = ".status.summary.addresses"),
    printcolumn(name = "PORTS", type_ = "string", json_path = ".status.summary.ports"),
    printcolumn(name = "METHOD", type_ = "string", json_path = ".spec.forwardingMethod"),
    printcolumn(name = "SCHEDULER", type_ = "string", json_path = ".spec.scheduler"),
    printcolumn(name = "REALSERVERS", type_ = "string", json_path = ".status.summary.realServers"),
    printcolumn(name = "DIRECTOR", type_ = "string", json_path = ".status.summary.directors"),
    printcolumn(name = "READY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "REASON", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.healthChecks) || self.ports.all(p, !has(p.protocol) || p.protocol == 'TCP')")
        .message("write healthChecks out (healthChecks: [{none: {}}]): the default only fits services whose ports are all TCP"),
)]
pub struct VirtualServiceSpec {
    /// The DirectorGroup whose nodes carry the VIPs.
    #[serde(default = "default_group")]
    #[schemars(length(min = 1, max = 63))]
    pub director_group_name: String,
    /// The VIPs.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(a, self.exists_one(b, a.address == b.address))").message("addresses must be unique: remove the repeated one"),
    )]
    pub addresses: Vec<VirtualAddress>,
    /// The ports, each on every VIP.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(p, self.exists_one(q, q.port == p.port && (has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))")
            .message("ports must be unique by protocol and port: remove the repeated one"),
        validation = Rule::new("self.all(p, !has(p.name) || self.exists_one(q, has(q.name) && q.name == p.name))")
            .message("port names must be unique: rename one"),
    )]
    pub ports: Vec<Port>,
    /// How the real server of a new connection is chosen; `wlc` when absent, as ipvsadm.
    #[serde(default)]
    pub scheduler: Scheduler,
    /// How packets reach the real servers.
    #[serde(default)]
    pub forwarding_method: ForwardingMethod,
    /// Which RealServers of this namespace serve.
    pub real_server_selector: Selector,
    /// Checks that every real server must pass. This version has `none` only, and probes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub health_checks: Option<Vec<HealthCheck>>,
}

fn default_group() -> String {
    "default".to_owned()
}

/// What became of the VirtualService. Written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Who answers for each VIP now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<AddressStatus>,
    /// Every node that is a director of this service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["nodeName".into()]))]
    pub directors: Vec<Director>,
    /// How many real servers there are, and how far they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_servers: Option<RealServerCounts>,
    /// The print columns, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<VirtualServiceSummary>,
    /// Accepted, ResolvedRefs, Programmed, Ready, and Stalled when only a person can help.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A VIP and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressStatus {
    /// The VIP.
    #[schemars(length(max = 45))]
    pub address: String,
    /// The node whose agent reports that it holds the VIP; absent when nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node_name: Option<String>,
}

/// One director of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Director {
    /// The director's node.
    #[schemars(length(max = 253))]
    pub node_name: String,
    /// What it does for the VIPs now.
    pub role: Role,
}

/// Counts of real servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerCounts {
    /// Found by the selector and accepted.
    pub matched: i32,
    /// Of these, proven ready to take traffic, or not in need of it.
    pub prepared: i32,
}

/// Lists joined to text, because JSON paths of print columns cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceSummary {
    /// "192.168.56.100".
    pub addresses: String,
    /// "80/TCP,443/TCP".
    pub ports: String,
    /// "prepared/matched".
    pub real_servers: String,
    /// "dir1".
    pub directors: String,
}
