//! A node's part as a director: the flags of its VIPs and real servers follow the two rules of [`super`].

use crate::director_group::UndeclaredPorts;
use crate::health::HealthCheck;
use crate::leaving::{Drain, Quorum, SlowStart};
use crate::lvs::{ForwardingMethod, Persistence, Protocol, Scheduler, SchedulerFlag, Tunnel, is_zero};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Checks that a real server must pass, unless it has its own; empty = nothing is probed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub health_checks: Vec<HealthCheck>,
    /// How much weight must be healthy for the sorry server to stay away; one unit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// How long a real server that leaves keeps its connections; 60 seconds when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// How real servers come up; absent = with their whole weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
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
    /// Checks that it must pass, instead of the part's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub health_checks: Option<Vec<HealthCheck>>,
    /// It leaves: at weight 0 it keeps its connections until none is left or the part's `drain` is over, and is out of the
    /// table then. The entry stays until the status says `Drained`, or for as long as the RealServer is cordoned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// It is the sorry server: in the table only while a service has lost its quorum, never counted for it, never probed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sorry: bool,
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
