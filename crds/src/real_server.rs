//! RealServer: one `ipvsadm -a` in every VirtualService that selects it.

use crate::health::HealthCheck;
use crate::lvs::{ForwardingMethod, Tunnel, is_zero};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine that serves, found by VirtualServices of its namespace through its labels.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "lvs-operator.io", version = "v1alpha1", kind = "RealServer", namespaced,
    status = "RealServerStatus", derive = "PartialEq", shortname = "irs", category = "ipvs",
    selectable = ".spec.nodeName",
    printcolumn(name = "ADDRESSES", type_ = "string", json_path = ".status.summary.addresses"),
    printcolumn(name = "NODE", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "WEIGHT", type_ = "integer", json_path = ".spec.weight"),
    printcolumn(name = "SERVICES", type_ = "string", json_path = ".status.summary.virtualServices"),
    printcolumn(name = "HEALTHY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Healthy")].status"#),
    printcolumn(name = "READY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "REASON", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.addresses) || has(self.nodeName)").message("set addresses, nodeName or both"),
    validation = Rule::new("!has(self.lowerThreshold) || self.lowerThreshold == 0 || (has(self.upperThreshold) && self.lowerThreshold <= self.upperThreshold)").message("lowerThreshold must not exceed upperThreshold: the real server takes connections again below it").field_path(".lowerThreshold"),
    validation = Rule::new("!has(self.tunnel) || !has(self.forwardingMethod) || self.forwardingMethod == 'TUN'").message("tunnel goes with forwardingMethod TUN: remove one of them").field_path(".tunnel"),
    validation = Rule::new("!has(self.port) || !has(self.forwardingMethod) || self.forwardingMethod in ['NAT', 'FullNAT']").message("DR and TUN cannot translate ports: remove port, or use NAT or FullNAT").field_path(".port"),
    validation = Rule::new("!has(self.healthChecks) || !has(self.forwardingMethod) || self.forwardingMethod in ['DR', 'TUN'] || self.healthChecks.all(c, !has(c.through) || c.through != 'ForwardingPath')")
        .message("through: ForwardingPath is for DR and TUN: by NAT and FullNAT packets go to the real server's own address anyway; remove through").field_path(".healthChecks"),
)]
pub struct RealServerSpec {
    /// The addresses that packets are sent to, one a family at most; absent = the InternalIPs of `nodeName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2), inner(length(max = 45)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(a, isIP(a) && ip.isCanonical(a) && ip(a).isGlobalUnicast())").message("write IPv4 or IPv6 unicast addresses in canonical form, such as 192.168.56.30"),
        validation = Rule::new("!self.all(a, isIP(a)) || (self.filter(a, ip(a).family() == 4).size() <= 1 && self.filter(a, ip(a).family() == 6).size() <= 1)").message("one address of each family at most: make another RealServer for the other address"),
    )]
    pub addresses: Option<Vec<String>>,
    /// The node whose agent prepares the host for DR and TUN, and looks after the return route of NAT. Absent = a machine without an agent, prepared by other means.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node_name: Option<String>,
    /// Share of new connections; 0 = quiescent: none, while established ones live on (`ipvsadm -w`).
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 65535))]
    pub weight: i32,
    /// Its port, instead of the service's `targetPort`; for services with one port, NAT or FullNAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How packets reach it, instead of the VirtualService's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding_method: Option<ForwardingMethod>,
    /// How TUN wraps packets to it, instead of the VirtualService's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// At so many connections it gets no new ones (`ipvsadm -x`); 0 = no limit. The kernel counts those that are closing,
    /// too, for about two minutes.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub upper_threshold: i32,
    /// Full, it gets new ones again when it has less than so many (`ipvsadm -y`); 0 = three quarters of `upperThreshold`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub lower_threshold: i32,
    /// Checks that it must pass, instead of the VirtualService's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub health_checks: Option<Vec<HealthCheck>>,
    /// It drains as if it left, and stays out until this is taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
}

fn default_weight() -> i32 {
    1
}

/// What became of the RealServer. Written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The VirtualServices that select it, by name; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub virtual_services: Vec<RealServerOfService>,
    /// The print columns, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<RealServerSummary>,
    /// Accepted, ResolvedRefs, Prepared, Healthy, Ready: the conjunction over its services; Stalled when only a person can help.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The RealServer as a member of one VirtualService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerOfService {
    /// The VirtualService's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Accepted, Prepared and Healthy, for this service.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Lists joined to text, because JSON paths of print columns cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerSummary {
    /// "192.168.56.30".
    pub addresses: String,
    /// "web,web-tls", cut after a few with "+N".
    pub virtual_services: String,
}
