//! Tunnels on hosts where others have tunnels and settings, and clients that no ICMP reaches.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::Capture;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use e2e::{clock, oracle};
use serde_json::json;

use super::{group, in_turn, real_server, serve, service, tcp};
use crate::shop;

const IPIP: &str = "192.168.56.150";
const GRE: &str = "192.168.56.152";
const RP_FILTER: &str = "net.ipv4.conf.all.rp_filter";
const UPLOAD: u32 = 200_000;
/// 1,500 bytes less an outer and an inner header of IPv4, and that of TCP.
const SEGMENT: u32 = 1500 - 20 - 20 - 20;
/// A cluster network that wraps its packets by IPIP, on the kernel's own device.
const CLUSTER_NETWORK: &str =
    "set -e; modprobe ipip || true; ip link set tunl0 up; ip address add 10.244.1.1/32 dev tunl0
    ip route add 10.244.2.1/32 via 10.0.1.40 dev tunl0 onlink";
const ITS_OTHER_NODE: &str = "set -e; ip link add net0 type ipip local 10.0.1.40 remote 10.0.1.30; ip link set net0 up
    ip address add 10.244.2.1/32 dev net0; ip route add 10.244.1.1/32 dev net0";

/// No ICMP arrives that would say what does not fit.
const BLACK_HOLE: &str = "nft -f - <<END
table ip blackhole {
    chain in {
        type filter hook input priority 0
        icmp type destination-unreachable drop
    }
}
END";

pub(super) fn tunnels(scene: &Scene) -> Result<()> {
    let real_servers = [("rs1", 30), ("rs2", 40)];
    shop::open(
        scene,
        &topology::remote("dir1", &real_servers),
        &AgentOptions::default(),
    )?;
    let (client, rs1, rs2) = (scene.host("client")?, scene.host("rs1")?, scene.host("rs2")?);
    rs1.shell(&format!("{CLUSTER_NETWORK}; sysctl -qw {RP_FILTER}=1"))?;
    rs2.run(&format!("sysctl -qw {RP_FILTER}=2"))?;
    for host in [&rs1, &rs2] {
        scene.keep(super::upload_server(host)?);
    }
    let by = |name: &str, vip: &str, tunnel: serde_json::Value| {
        let more = json!({"forwardingMethod": "TUN", "tunnel": tunnel});
        service(name, "web", &[vip], &json!([{"port": 80}, {"port": 8081}]), &more)
    };
    let objects = [
        group(&json!({})),
        real_server("rs1", "web", &json!({"nodeName": "rs1", "addresses": ["10.0.1.30"]})),
        real_server("rs2", "web", &json!({"nodeName": "rs2", "addresses": ["10.0.1.40"]})),
        by("ipip", IPIP, json!({"type": "IPIP"})),
        by("gre", GRE, json!({"type": "GRE", "checksum": "Checksum"})),
    ];
    serve(scene, &objects, &["ipip", "gre"])?;
    any_filter(scene, &client, &[(&rs1, "1"), (&rs2, "2")])?;
    foreign_device(scene, &client, &rs1, &rs2)?;
    let devices = rs1.run("ip -d link show type gre")?;
    ensure!(devices.contains("icsum"), "case 27: {devices}");
    client.shell(BLACK_HOLE)?;
    for vip in [IPIP, GRE] {
        uploaded(scene, &client, vip)?;
    }
    Ok(())
}

/// Whatever an administrator has set for all interfaces, tunnelled packets pass, and it stays as it is.
fn any_filter(scene: &Scene, client: &Host, preset: &[(&Host, &str)]) -> Result<()> {
    let (first, _) = preset[0];
    let asked = |values: &[(&Host, &str)]| -> Result<()> {
        for vip in [IPIP, GRE] {
            in_turn(client, tcp(vip, 80)?, 4, &["rs1", "rs2"])?;
        }
        for (host, value) in values {
            ensure!(
                oracle::sysctl(host, RP_FILTER)? == *value,
                "case 26: {RP_FILTER} was changed on {}",
                host.name
            );
            scene.step(&format!("case 26: {} answers with {RP_FILTER}={value}", host.name));
        }
        Ok(())
    };
    asked(preset)?;
    first.run(&format!("sysctl -qw {RP_FILTER}=0"))?;
    asked(&[(first, "0")])
}

/// Of both nodes of a cluster network: one that has the kernel's own device and had it before, and one that begins to wrap
/// packets for the first alone while it is a real server.
fn foreign_device(scene: &Scene, client: &Host, host: &Host, other: &Host) -> Result<()> {
    other.shell(ITS_OTHER_NODE)?;
    let received = || -> Result<u64> {
        let links: serde_json::Value = serde_json::from_str(&host.run("ip -s -j link show dev tunl0")?)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("no counter")
    };
    let before = received()?;
    let ping = Program::line("ping -c 1 -W 1 -I 10.244.2.1 10.244.1.1");
    let answered = || Ok((other.attempt(ping.clone())?.status == 0).then_some(()));
    let (_, took) = clock::until("packets of others pass", Duration::from_secs(10), answered)?;
    let arrived = received()? - before;
    scene.step(&format!(
        "case 26: {arrived} packets of others on tunl0, answered after {took:.1?}"
    ));
    ensure!(arrived > 0, "case 26: not by tunl0");
    for vip in [IPIP, GRE] {
        in_turn(client, tcp(vip, 80)?, 4, &["rs1", "rs2"])?;
    }
    Ok(())
}

/// The client never hears that its packets are too long: it must be told a segment size that fits.
fn uploaded(scene: &Scene, client: &Host, vip: &str) -> Result<()> {
    let capture = Capture::start(
        client,
        "eth0",
        &format!("src host {vip} and tcp[tcpflags] & tcp-syn != 0"),
    )?;
    let send = format!("head -c {UPLOAD} /dev/zero | timeout 20 socat -t 20 - TCP4:{vip}:8081");
    let output = client.attempt(Program::shell(&send).timeout(Duration::from_secs(30)))?;
    let answers = capture.stop()?.lines("")?;
    let size = |line: &String| line.split_once("mss ")?.1.split([',', ']']).next()?.parse::<u32>().ok();
    let sizes: Vec<u32> = answers.iter().filter_map(size).collect();
    scene.step(&format!(
        "case 27: {vip}: {} of {UPLOAD} bytes in {:.1} s, segments of {sizes:?}",
        output.stdout.trim(),
        output.took.as_secs_f64()
    ));
    ensure!(output.stdout.trim() == UPLOAD.to_string(), "case 27: {vip}: {output:?}");
    ensure!(
        !sizes.is_empty() && sizes.iter().all(|size| *size <= SEGMENT),
        "case 27: {answers:#?}"
    );
    Ok(())
}
