//! DirectorGroup: which nodes are directors, and whose VIPs they may carry. The administrator's side of the contract.

use crate::lvs::Role;
use crate::selector::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nodes that carry VIPs, and the limits within which namespaces may place them there.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "lvs-operator.io", version = "v1alpha1", kind = "DirectorGroup",
    status = "DirectorGroupStatus", derive = "PartialEq", shortname = "idg", category = "ipvs",
    printcolumn(name = "DIRECTORS", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "SERVICES", type_ = "integer", json_path = ".status.virtualServices"),
    printcolumn(name = "READY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "REASON", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct DirectorGroupSpec {
    /// The nodes of the group; without a virtual router it must select exactly one.
    pub node_selector: Selector,
    /// The interface that carries the VIPs; absent = the interface that routes to the VIP's network.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[^/\s]+$"))]
    pub interface: Option<String>,
    /// Which namespaces may place VIPs here.
    pub allowed_namespaces: AllowedNamespaces,
    /// Networks that VIPs must lie in; all others are refused.
    #[serde(rename = "allowedCIDRs")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 49)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())").message("write networks in CIDR form without host bits, such as 192.168.56.0/24"),
    )]
    pub allowed_cidrs: Vec<String>,
    /// Whether several namespaces may use ports of one VIP. false: a VIP belongs to the namespace that holds it.
    #[serde(default)]
    pub shared_addresses: bool,
    /// Source NAT for networks of real servers that use the director as their gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub masquerade: Vec<Masquerade>,
    /// Idle timeouts of connections on the directors (`ipvsadm --set`); absent = as the kernel has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Of FullNAT.
    #[serde(rename = "fullNAT", skip_serializing_if = "Option::is_none")]
    pub full_nat: Option<FullNat>,
    /// What becomes of packets to a VIP that no service takes. Drop also keeps connections alive through a flush of IPVS.
    #[serde(default)]
    pub undeclared_ports: UndeclaredPorts,
}

/// One rule of source NAT, for what leaves a network of real servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Masquerade {
    /// The network whose packets get another source address.
    #[serde(rename = "sourceCIDR")]
    #[schemars(length(max = 49))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()").message("write a network in CIDR form without host bits, such as 10.0.0.0/24"))]
    pub source_cidr: String,
    /// Only for packets that leave by this interface; absent = by any that does not lead back to `sourceCIDR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[^/\s]+$"))]
    pub out_interface: Option<String>,
    /// The new source addresses, one of them for each client (SNAT); absent = the outgoing interface's (MASQUERADE).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 45)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(a, isIP(a) && ip.isCanonical(a) && ip(a).isGlobalUnicast())").message("write IPv4 or IPv6 unicast addresses in canonical form, such as 203.0.113.5"),
    )]
    pub source_addresses: Vec<String>,
}

/// Idle timeouts of IPVS connections, in seconds. They are the node's: groups that meet on one must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tcpSeconds) || has(self.tcpFinSeconds) || has(self.udpSeconds)").message("set at least one of tcpSeconds, tcpFinSeconds and udpSeconds"))]
pub struct Timeouts {
    /// Of established TCP connections; the kernel's own is 900.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483))]
    pub tcp_seconds: Option<i32>,
    /// Of TCP connections after a FIN; the kernel's own is 120.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483))]
    pub tcp_fin_seconds: Option<i32>,
    /// Of UDP; the kernel's own is 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483))]
    pub udp_seconds: Option<i32>,
}

/// What FullNAT speaks to real servers from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FullNat {
    /// Used in turn, so that each adds about 64,000 connections to one real server; held by the director that holds the
    /// VIPs. Absent = the outgoing interface's own address.
    #[schemars(length(min = 1, max = 64), inner(length(max = 45)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(a, isIP(a) && ip.isCanonical(a) && ip(a).isGlobalUnicast())").message("write IPv4 or IPv6 unicast addresses in canonical form, such as 10.0.0.5"),
    )]
    pub source_addresses: Vec<String>,
}

/// What becomes of packets to a VIP that no service takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum UndeclaredPorts {
    /// They are dropped, behind IPVS; ICMP and ICMPv6 never.
    #[default]
    Drop,
    /// The director's own sockets answer them.
    Accept,
}

/// Who may place VIPs in a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.from == 'Selector') == has(self.namespaceSelector)").message("namespaceSelector goes with, and only with, from: Selector"),
)]
pub struct AllowedNamespaces {
    /// All, or those that `namespaceSelector` finds.
    pub from: NamespacesFrom,
    /// Over the labels of Namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
}

/// Where VirtualServices may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// Every namespace.
    All,
    /// Namespaces found by `namespaceSelector`.
    Selector,
}

/// What became of the group. Written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorGroupStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The selected nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["nodeName".into()]))]
    pub members: Vec<Member>,
    /// How many VirtualServices name this group; while there are any it cannot be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_services: Option<i32>,
    /// The members' names, for the print column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Accepted, Ready; Stalled when only a person can help.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A node of the group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The node.
    #[schemars(length(max = 253))]
    pub node_name: String,
    /// What it does now.
    pub role: Role,
    /// Since when it has this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}
