//! VirtualService: one `ipvsadm -A` for each address and port, with the real servers that a selector finds.

use crate::health::HealthCheck;
use crate::leaving::{Drain, Quorum, SlowStart, SorryServer};
use crate::lvs::{ForwardingMethod, Persistence, Port, Role, Scheduler, SchedulerFlag, Tunnel, VirtualAddress};
use crate::selector::Selector;
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
    validation = Rule::new("has(self.ports) != has(self.firewallMark)")
        .message("set exactly one of ports and firewallMark"),
    validation = Rule::new("has(self.healthChecks) || (has(self.ports) && self.ports.all(p, p.port != 0 && (!has(p.protocol) || p.protocol == 'TCP')))")
        .message("write healthChecks out (healthChecks: [{none: {}}]): the default only fits services whose ports are all TCP, and not 0"),
    validation = Rule::new("!has(self.healthChecks) || (has(self.ports) && self.ports.all(p, p.port != 0) && (!has(self.persistence) || !has(self.persistence.acrossPorts) || !self.persistence.acrossPorts)) || self.healthChecks.all(c, has(c.none) || has(c.ping) || has(c.port))")
        .message("name the port of each check: a service of every port, of a mark or acrossPorts has no one port to probe").field_path(".healthChecks"),
    validation = Rule::new("!has(self.healthChecks) || self.scheduler != 'dh' || self.healthChecks.all(c, !has(c.onFailure) || c.onFailure != 'Quiesce')")
        .message("dh has no fallback: with Quiesce it would refuse the clients of a real server that is down; use Remove, or scheduler sh").field_path(".healthChecks"),
    validation = Rule::new("!has(self.healthChecks) || self.forwardingMethod in ['DR', 'TUN'] || self.healthChecks.all(c, !has(c.through) || c.through != 'ForwardingPath')")
        .message("through: ForwardingPath is for DR and TUN: by NAT and FullNAT packets go to the real server's own address anyway; remove through").field_path(".healthChecks"),
    validation = Rule::new("!has(self.drain) || self.scheduler != 'dh' || self.drain.timeoutSeconds == 0")
        .message("dh has no fallback: it would refuse the clients of a real server that drains; set drain.timeoutSeconds to 0, or use scheduler sh").field_path(".drain"),
    validation = Rule::new("!has(self.slowStart) || !(self.scheduler in ['sh', 'mh', 'dh'])")
        .message("slowStart does not go with sh, mh and dh: each step would move clients to other real servers; remove it, or use another scheduler").field_path(".slowStart"),
    validation = Rule::new("!has(self.schedulerFlags) || self.schedulerFlags.all(f, f.startsWith(self.scheduler + '-'))")
        .message("schedulerFlags must be of the scheduler: sh-fallback and sh-port go with sh, mh-fallback and mh-port with mh").field_path(".schedulerFlags"),
    validation = Rule::new("!has(self.ports) || self.forwardingMethod in ['NAT', 'FullNAT'] || self.ports.all(p, !has(p.targetPort) || p.targetPort == p.port)")
        .message("DR and TUN cannot translate ports: remove targetPort, or use NAT or FullNAT").field_path(".ports"),
    validation = Rule::new("!has(self.ports) || has(self.persistence) || self.ports.all(p, p.port != 0)")
        .message("port 0 (every port) needs persistence: add it, or name the ports").field_path(".ports"),
    validation = Rule::new("!has(self.onePacket) || !self.onePacket || (has(self.ports) && self.ports.all(p, has(p.protocol) && p.protocol == 'UDP'))")
        .message("onePacket is for UDP: every port must be of protocol UDP").field_path(".onePacket"),
    validation = Rule::new("!has(self.onePacket) || !self.onePacket || self.forwardingMethod in ['DR', 'TUN']")
        .message("onePacket goes with DR or TUN: with NAT and FullNAT a reply could not be matched, and would leave with the real server's address").field_path(".onePacket"),
    validation = Rule::new("!has(self.tunnel) || self.forwardingMethod == 'TUN'")
        .message("tunnel goes with forwardingMethod TUN: remove one of them").field_path(".tunnel"),
    validation = Rule::new("!has(self.persistence) || !has(self.persistence.engine) || (has(self.ports) && self.ports.all(p, has(p.protocol) && p.protocol == 'UDP'))")
        .message("engine sip is for UDP: every port must be of protocol UDP").field_path(".persistence.engine"),
    validation = Rule::new("!has(self.persistence) || !has(self.persistence.acrossPorts) || !self.persistence.acrossPorts || (has(self.ports) && self.ports.all(p, p.port != 0 && (!has(p.targetPort) || p.targetPort == p.port)))")
        .message("acrossPorts keeps ports as they are: name every port, without targetPort").field_path(".persistence.acrossPorts"),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(p, self.exists_one(q, q.port == p.port && (has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))")
            .message("ports must be unique by protocol and port: remove the repeated one"),
        validation = Rule::new("self.all(p, !has(p.name) || self.exists_one(q, has(q.name) && q.name == p.name))")
            .message("port names must be unique: rename one"),
        validation = Rule::new("self.all(p, p.port != 0 || !has(p.targetPort))")
            .message("port 0 (every port) keeps ports as they are: remove targetPort"),
    )]
    pub ports: Option<Vec<Port>>,
    /// An IPVS service by firewall mark, which something else sets on the packets (`ipvsadm -f`); compared whole. The
    /// addresses say which VIPs are held; there is one service for each of their families, and ports are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_i64))]
    #[x_kube(
        validation = Rule::new("self < 268435456 || self > 402653183").message("268435456 to 402653183 (0x10000000-0x17ffffff) are marks of the agents' own probes: choose another"),
    )]
    pub firewall_mark: Option<i64>,
    /// How the real server of a new connection is chosen; `wlc` when absent, as ipvsadm.
    #[serde(default)]
    pub scheduler: Scheduler,
    /// Flags of the scheduler. Absent = [sh-fallback] with sh and [mh-fallback] with mh: without it a real server that
    /// leaves, is full or quiesced refuses its share of the clients. [] = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    // One value: the API server drops a set that is applied empty, and absent means something else here.
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self.all(f, self.exists_one(g, g == f))").message("schedulerFlags must be unique: remove the repeated one"),
    )]
    pub scheduler_flags: Option<Vec<SchedulerFlag>>,
    /// How packets reach the real servers; a RealServer may say otherwise for itself.
    #[serde(default)]
    pub forwarding_method: ForwardingMethod,
    /// How TUN wraps packets; IPIP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// A client meets the same real server again; absent = each connection is scheduled by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Every UDP packet is scheduled by itself (`ipvsadm -o`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
    /// Which RealServers of this namespace serve.
    pub real_server_selector: Selector,
    /// Checks that every real server must pass; one by TCP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub health_checks: Option<Vec<HealthCheck>>,
    /// How much weight must be healthy (`quorum`, `hysteresis`); below it the sorry server takes over, where there is one.
    /// By default one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// Who takes over below the quorum (`sorry_server`); absent = nobody, and those that are left go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sorry_server: Option<SorryServer>,
    /// How long a real server that leaves keeps its connections; 60 seconds when absent, 0 with scheduler dh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// How a real server comes back that was down; absent = with its whole weight at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
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
    /// Accepted, ResolvedRefs, Programmed, Ready; Stalled when only a person can help; ClientAddressHidden while FullNAT serves; WithoutFallback while a hash has none.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Director {
    /// The director's node.
    #[schemars(length(max = 253))]
    pub node_name: String,
    /// What it does for the VIPs now.
    pub role: Role,
    /// What stands in its way, as its agent says: BlockedByFirewall, SourcePortsLow. Present only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Counts of real servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealServerCounts {
    /// Found by the selector and accepted.
    pub matched: i32,
    /// Of these, proven ready to take traffic, or not in need of it.
    pub prepared: i32,
    /// Of those found and accepted, such as pass their health checks.
    #[serde(default)]
    pub healthy: i32,
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

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;
    use serde_json::{Map, Value};

    fn properties() -> Map<String, Value> {
        let crd = serde_json::to_value(VirtualService::crd()).unwrap();
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        crd.pointer(spec).and_then(Value::as_object).unwrap().clone()
    }

    /// Server-side apply takes an empty set away when it follows one that was not empty.
    #[test]
    fn lists_that_may_be_empty_and_then_mean_something_are_one_value() {
        let properties = properties();
        let lists = properties.iter().filter(|(_, schema)| schema["type"] == "array");
        for (name, schema) in lists.filter(|(_, schema)| schema["minItems"].is_null()) {
            assert_eq!(schema["x-kubernetes-list-type"], "atomic", "{name}");
        }
    }

    /// It makes null of an empty map that follows one that was not.
    #[test]
    fn maps_that_may_be_empty_are_one_value() {
        let properties = properties();
        let maps = properties.iter().filter(|(_, schema)| schema["type"] == "object");
        let may_be_empty =
            |schema: &Value| schema["required"].is_null() && schema["x-kubernetes-validations"].is_null();
        let found: Vec<_> = maps.filter(|(_, schema)| may_be_empty(schema)).collect();
        assert!(found.iter().any(|(name, _)| *name == "persistence"));
        for (name, schema) in found {
            assert_eq!(schema["x-kubernetes-map-type"], "atomic", "{name}");
        }
    }
}
