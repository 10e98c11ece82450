//! Other people's firewalls on a director.

use anyhow::{Result, ensure};
use e2e::product::AgentOptions;
use e2e::said::is_said;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use e2e::{clock, oracle};
use serde_json::{Value, json};

use super::{SHOP, ask, group, in_turn, real_server, serve, service, tcp};
use crate::shop::{self, LIMIT};

const VIP: &str = "192.168.56.130";
const CONNTRACK: &str = "net.ipv4.vs.conntrack";
/// As a host firewall that knows of no VIP.
const INPUT: &str = "nft -f - <<END
table ip filter {
    chain INPUT {
        type filter hook input priority 0; policy drop;
        iifname { lo, mgmt0, eth1 } accept
    }
}
END";
/// As Docker's.
const FORWARD: &str = "nft -f - <<END
table ip filter {
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
    }
}
END";

pub(super) fn firewalls(scene: &Scene) -> Result<()> {
    let real_servers = [("rs1", 30), ("rs2", 40)];
    shop::open(
        scene,
        &topology::director_between("dir1", &real_servers),
        &AgentOptions::default(),
    )?;
    let objects = [
        group(&json!({})),
        real_server("rs1", "web", &json!({"nodeName": "rs1", "addresses": ["10.0.0.30"]})),
        real_server("rs2", "web", &json!({"nodeName": "rs2", "addresses": ["10.0.0.40"]})),
        service(
            "web",
            "web",
            &[VIP],
            &json!([{"port": 80}]),
            &json!({"forwardingMethod": "NAT"}),
        ),
    ];
    serve(scene, &objects, &["web"])?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    in_turn(&client, tcp(VIP, 80)?, 2, &["rs1", "rs2"])?;
    director.shell(INPUT)?;
    blocked(
        scene,
        "packets to the VIPs are dropped by ip filter INPUT (hook input priority 0, policy drop)",
    )?;
    let answers = ask(&client, tcp(VIP, 80)?, 1)?;
    ensure!(answers.failed.len() == 1, "case 29: it blocks nothing: {answers}");
    director.run("nft delete table ip filter")?;
    unblocked(scene)?;
    established_only(scene, &client, &director)
}

/// Replies pass by "established, accept" alone, which knows the connections that conntrack does.
fn established_only(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    ensure!(
        oracle::sysctl(director, CONNTRACK)? == "0",
        "case 29: {CONNTRACK} was on before"
    );
    director.shell(FORWARD)?;
    blocked(
        scene,
        "replies of real servers are dropped by ip filter FORWARD (hook forward priority 0, policy drop)",
    )?;
    set(director, "1")?;
    let answers = in_turn(client, tcp(VIP, 80)?, 6, &["rs1", "rs2"])?;
    scene.step(&format!(
        "case 29: behind a forward chain that drops, {CONNTRACK}=1: {answers}"
    ));
    director.run("nft delete table ip filter")?;
    unblocked(scene)?;
    set(director, "0")?;
    let answers = in_turn(client, tcp(VIP, 80)?, 2, &["rs1", "rs2"])?;
    scene.step(&format!("case 29: without it, {CONNTRACK}=0: {answers}"));
    Ok(())
}

fn set(director: &Host, value: &str) -> Result<()> {
    let is_so = || Ok((oracle::sysctl(director, CONNTRACK)? == value).then_some(()));
    clock::until(&format!("{CONNTRACK} is {value}"), LIMIT, is_so).map(drop)
}

fn blocked(scene: &Scene, words: &str) -> Result<()> {
    let blocked = |list: &Value| {
        any(list, |placement| {
            is_said(placement, ("BlockedByFirewall", "True", "ForeignEntry"), words)
        })
    };
    let (_, took) = placements(scene, words, blocked)?;
    scene.step(&format!("case 29: said after {took:.1?}: {words}"));
    Ok(())
}

fn unblocked(scene: &Scene) -> Result<()> {
    let blocked = |placement: &Value| placement.to_string().contains("BlockedByFirewall");
    placements(scene, "nobody is blocked", |list| !any(list, blocked)).map(drop)
}

fn placements(scene: &Scene, what: &str, pleases: impl Fn(&Value) -> bool) -> Result<(Value, std::time::Duration)> {
    scene
        .control_plane()
        .wait_for(what, LIMIT, &["-n", SHOP, "placements"], pleases)
}

fn any(list: &Value, pleases: impl Fn(&Value) -> bool) -> bool {
    list["items"].as_array().is_some_and(|items| items.iter().any(pleases))
}
