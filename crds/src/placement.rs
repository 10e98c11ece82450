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

use crate::director_group::{Masquerade, Timeouts, UndeclaredPorts};
use crate::lvs::{ForwardingMethod, Persistence, Protocol, Role, Scheduler, SchedulerFlag, Tunnel};
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

/// Director: services × addresses × real servers. The agent multiplies, so that an object stays small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorPart {
    /// The VIPs.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<DirectorAddress>,
    /// The services on every VIP.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub services: Vec<PlacedService>,
    /// The real servers of every service.
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub real_servers: Vec<PlacedRealServer>,
    /// What becomes of packets to the VIPs that no service takes.
    #[serde(default)]
    pub undeclared_ports: UndeclaredPorts,
    /// Addresses that FullNAT speaks to real servers from, held with the VIPs; empty = the outgoing interface's own.
    #[serde(default, rename = "fullNATSourceAddresses", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub full_nat_source_addresses: Vec<String>,
}

/// A VIP on a director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorAddress {
    /// The VIP.
    #[schemars(length(max = 45))]
    pub address: String,
    /// The interface that carries it; absent = the one that routes to its network.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub interface: Option<String>,
    /// Who decides that this node answers for it.
    pub address_owner: AddressOwner,
    /// Take back the VIP and its services. The entry stays until the status no longer lists the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdraw: bool,
}

/// Who decides that this node answers for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressOwner {
    /// Nobody yet: programmed like an active director, without the VIP. See the module's first rule.
    Reserved,
    /// This node holds it always.
    Node,
}

/// One service: `ipvsadm -A` on every VIP; one of a firewall mark once for each family of the VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.firewallMark) ? !has(self.port) && !has(self.protocol) && !has(self.targetPort) : has(self.port) && has(self.protocol)")
        .message("either firewallMark, or protocol and port"),
)]
pub struct PlacedService {
    /// The transport protocol of `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The port; 0 = every port of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: Option<i32>,
    /// The port of the real servers; `port` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,
    /// The mark of the packets that the service takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_i64))]
    pub firewall_mark: Option<i64>,
    /// The ports of every VIP whose packets get `firewallMark` from us (acrossPorts); empty = somebody else marks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub marked_ports: Vec<MarkedPort>,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Its flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub scheduler_flags: Vec<SchedulerFlag>,
    /// Persistence; absent = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Whether every packet is scheduled by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
}

/// A port that a firewall mark is set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkedPort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// Which packets a service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    /// Those to this port of its VIPs.
    Port {
        /// The transport protocol.
        protocol: Protocol,
        /// The port; 0 = every one that no other service of the VIP takes.
        port: i32,
    },
    /// Those with this firewall mark.
    Mark(i64),
}

impl PlacedService {
    /// Which packets it takes.
    pub fn takes(&self) -> Takes {
        match self.firewall_mark {
            Some(mark) => Takes::Mark(mark),
            None => Takes::Port {
                protocol: self.protocol.unwrap_or_default(),
                port: self.port.unwrap_or_default(),
            },
        }
    }
}

/// One real server: `ipvsadm -a` in every service, on the VIPs for which it is prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacedRealServer {
    /// The RealServer's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The node that hosts it, when an agent prepares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node_name: Option<String>,
    /// Its addresses, one a family.
    #[schemars(length(min = 1, max = 2), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<String>,
    /// Its weight.
    #[schemars(range(min = 0, max = 65535))]
    pub weight: i32,
    /// Its port; the service's target port when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How packets reach it.
    pub forwarding_method: ForwardingMethod,
    /// How TUN wraps them; IPIP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// Connections at which it gets no new ones; 0 = no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub upper_threshold: i32,
    /// Connections below which it gets new ones again.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub lower_threshold: i32,
    /// The way by which it is to be reached when its host is proven ready for that; until then the fields above hold. See
    /// the module's second rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Forwarding>,
    /// The VIPs for which its host is proven ready, or needs no preparation. Under all others it is not in the table.
    #[schemars(length(max = 32), inner(length(max = 45)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub prepared: Vec<String>,
}

/// A way by which packets reach a real server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// How packets reach it.
    pub forwarding_method: ForwardingMethod,
    /// How TUN wraps them; IPIP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
}

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
    /// Programmed: True only after a read-back that found no difference. BlockedByFirewall: present only while it is True.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

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

/// Lists joined to text, because JSON paths of print columns cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementSummary {
    /// "director", "real server", or both.
    pub parts: String,
    /// "serving/all" of a director.
    pub destinations: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}
