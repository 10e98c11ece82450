//! FullNAT's source ports: said to be low while none is missing yet. The connections are one packet of the kernel's packet
//! generator each; three quarters of 64,512 are some, and the kernel cannot be told to have fewer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::clock;
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use serde_json::json;

use super::{SHOP, group, real_server, serve, service};
use crate::shop::{self, LIMIT};

const VIP: &str = "192.168.56.162";
const POOL: [&str; 2] = ["10.0.0.11", "10.0.0.12"];
/// Discard, RFC 863.
const PORT: u16 = 9;
/// Fewer than there are ports, more than three quarters of them.
const CONNECTIONS: u32 = 56_000;
/// Three quarters of 64,512.
const LOW: u32 = 48_384;
const AUDIT_SECONDS: u64 = 5;
/// For so many packets under emulation.
const SENT: Duration = Duration::from_secs(120);

pub(super) fn source_ports(scene: &Scene) -> Result<()> {
    let options = AgentOptions {
        flags: vec!["--audit-seconds".to_owned(), AUDIT_SECONDS.to_string()],
        ..AgentOptions::default()
    };
    shop::open(
        scene,
        &topology::director_between("dir1", &[("rs1", 30), ("rs2", 40)]),
        &options,
    )?;
    let (client, director, server) = (scene.host("client")?, scene.host("dir1")?, scene.host("rs1")?);
    server.shell(
        "nft 'add table inet discard { chain input { type filter hook input priority 0; udp dport 9 drop; }; }'",
    )?;
    let ports = json!([{"protocol": "UDP", "port": PORT}]);
    let objects = [
        group(&json!({})),
        real_server(
            "rs1",
            "discard",
            &json!({"nodeName": "rs1", "addresses": ["10.0.0.30"]}),
        ),
        service(
            "discard",
            "discard",
            &[VIP],
            &ports,
            &json!({"forwardingMethod": "FullNAT"}),
        ),
    ];
    serve(scene, &objects, &["discard"])?;
    ensure!(said(scene)?.is_empty(), "case 14: low without a connection");

    generated(&client, &director)?;
    let (known, failed) = (connections(&director)?, insert_failed(&director)?);
    let low = || Ok(Some(said(scene)?).filter(|words| !words.is_empty()));
    let (words, took) = clock::until("source ports are said to be low", LIMIT, low)?;
    scene.step(&format!(
        "case 14: {known} of 64512 ports in use; said {took:.1?} later: {words}"
    ));
    ensure!(known >= LOW, "case 14: {known} connections came, {LOW} are asked for");
    ensure!(failed == 0, "case 14: too late, {failed} connections were dropped");
    ensure!(words.contains("UDP 10.0.0.30:9"), "case 14: {words}");
    let metrics = director.run("curl -sS http://127.0.0.1:9479/metrics")?;
    let share = metrics
        .lines()
        .find_map(|line| line.strip_prefix("lvs_agent_full_nat_source_ports_used_ratio "))
        .context("case 14: no metric")?;
    let share: f64 = share.parse()?;
    ensure!((0.75..1.0).contains(&share), "case 14: the metric says {share}");

    let more = json!({"spec": {"fullNAT": {"sourceAddresses": POOL}}}).to_string();
    let patch = ["patch", "directorgroup/default", "--type=merge", "-p", &more];
    scene.control_plane().kubectl(&patch, None)?;
    let enough = || Ok(said(scene)?.is_empty().then_some(()));
    let (_, took) = clock::until("two source addresses are enough", LIMIT, enough)?;
    scene.step(&format!("case 14: no longer low {took:.1?} after {POOL:?} were given"));
    Ok(())
}

/// What the VirtualService says of its director.
fn said(scene: &Scene) -> Result<String> {
    let path = "jsonpath={.status.directors[*].conditions[?(@.type==\"SourcePortsLow\")].message}";
    scene
        .control_plane()
        .kubectl(&["-n", SHOP, "get", "ivs", "discard", "-o", path], None)
}

/// One packet from each of so many ports, slowly enough for the director to lose none.
fn generated(client: &Host, director: &Host) -> Result<()> {
    let last = 1023 + CONNECTIONS;
    let script = format!(
        "set -e
        echo 'add_device eth0' > /proc/net/pktgen/kpktgend_0
        for word in 'count {CONNECTIONS}' 'pkt_size 60' 'delay 300000' 'dst {VIP}' 'dst_mac {}' 'src_min 192.168.56.200' \
            'src_max 192.168.56.200' 'udp_dst_min {PORT}' 'udp_dst_max {PORT}' 'udp_src_min 1024' 'udp_src_max {last}'
        do echo \"$word\" > /proc/net/pktgen/eth0; done
        echo start > /proc/net/pktgen/pgctrl",
        director.mac()?
    );
    client
        .program(e2e::program::Program::shell(&script).timeout(SENT))
        .map(drop)
}

fn connections(director: &Host) -> Result<u32> {
    let count = director.run("conntrack -C")?;
    count.trim().parse().with_context(|| format!("conntrack -C: {count}"))
}

fn insert_failed(director: &Host) -> Result<u32> {
    let statistics = director.run("conntrack -S")?;
    let words = statistics.split_whitespace();
    let failures = words.filter_map(|word| word.strip_prefix("insert_failed="));
    failures.map(|count| count.parse::<u32>().context("conntrack -S")).sum()
}
