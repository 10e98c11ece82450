//! One director with services by DR, NAT and FullNAT at once. The client is behind a router: a NAT real server on the
//! client's own link would answer it directly.

use anyhow::Result;
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::topology::{self, HostPlan, LAN};
use e2e::traffic::{self, ECHO};
use serde_json::{Value, json};

use super::{group, real_server, serve, service, tcp, udp};
use crate::shop::{self, NODES, PORTS};

pub(super) const DR: &str = "192.168.56.100";
pub(super) const NAT: &str = "192.168.56.130";
pub(super) const FULL_NAT: &str = "192.168.56.160";
/// Of the UDP services.
pub(super) const UDP_PORT: u16 = 5353;

/// rs1 and rs2 serve DR and FullNAT, and rs3, whose gateway is the director, NAT. Each echoes TCP and UDP beside nginx.
pub(super) fn open(scene: &Scene, of_group: &Value) -> Result<()> {
    let mut plans = topology::routed(&NODES);
    plans.push(HostPlan::outsider("rs3", LAN, 50).via(LAN, 10));
    shop::open(scene, &plans, &AgentOptions::default())?;
    for (name, address) in [
        ("rs1", "192.168.56.30"),
        ("rs2", "192.168.56.40"),
        ("rs3", "192.168.56.50"),
    ] {
        let endpoints = [tcp("0.0.0.0", ECHO)?, udp(address, UDP_PORT)?, udp(DR, UDP_PORT)?];
        scene.keep(traffic::echo(&*scene.host(name)?, &endpoints)?);
    }
    scene.keep(traffic::nginx(&*scene.host("rs3")?, &PORTS)?);
    let ports = json!([{"port": 80}, {"port": ECHO}, {"protocol": "UDP", "port": UDP_PORT}]);
    // Senders of UDP never have no connection left.
    let by = |name: &str, vip: &str, method: &str| {
        let more = json!({"forwardingMethod": method, "drain": {"timeoutSeconds": 2}});
        service(name, name, &[vip], &ports, &more)
    };
    let objects = [
        group(of_group),
        real_server("dr1", "dr", &json!({"nodeName": "rs1"})),
        real_server("dr2", "dr", &json!({"nodeName": "rs2"})),
        real_server("nat3", "nat", &json!({"addresses": ["192.168.56.50"]})),
        real_server("full1", "full", &json!({"addresses": ["192.168.56.30"]})),
        real_server("full2", "full", &json!({"addresses": ["192.168.56.40"]})),
        by("dr", DR, "DR"),
        by("nat", NAT, "NAT"),
        by("full", FULL_NAT, "FullNAT"),
    ];
    serve(scene, &objects, &["dr", "nat", "full"])
}

/// The number in the name of the host that answered is that of the RealServer of this app there.
pub(super) fn real_server_of(app: &str, host: &str) -> String {
    format!("{app}{}", host.trim_start_matches("rs"))
}
