//! What a VIP opens and what it does not: `undeclaredPorts: Drop` on a real director, with both families.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::Capture;
use e2e::endpoint::Endpoint;
use e2e::netlink_capture::{self, Writes};
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use e2e::{clock, traffic};
use serde_json::json;

use super::{group, in_turn, real_server, serve, service, tcp, udp};
use crate::shop::{self, LIMIT, NODES};

const VIPS: [&str; 2] = ["192.168.56.180", "fd56::180"];
const OWN: [&str; 2] = ["192.168.56.10", "fd56::10"];

pub(super) fn guard(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    // The director's own services, which a VIP must not open to the world; by 80 it is a real server, too.
    scene.keep(traffic::nginx(&director, &[22, 80])?);
    scene.keep(traffic::echo(&director, &[udp("0.0.0.0", 22)?, udp("::", 22)?])?);
    let both = |name: &str, last: u8| {
        let addresses = json!({"nodeName": name, "addresses": [format!("192.168.56.{last}"), format!("fd56::{last}")]});
        real_server(name, "web", &addresses)
    };
    let web = service("web", "web", &VIPS, &json!([{"port": 80}]), &json!({}));
    serve(
        scene,
        &[group(&json!({})), both("rs1", 30), both("rs2", 40), web],
        &["web"],
    )?;
    undeclared(scene, &client)?;
    pinged(scene, &client)?;
    neighbour(scene, &client)?;
    another_port(scene, &director)?;
    scene.apply(&both("dir1", 10))?;
    shop::table(&director, "the director is a real server", |lines| {
        lines
            .iter()
            .filter(|line| line.contains(":10]:") || line.contains(".10:"))
            .count()
            == 4
    })?;
    for vip in VIPS {
        let answers = in_turn(&client, tcp(vip, 80)?, 6, &["dir1", "rs1", "rs2"])?;
        scene.step(&format!(
            "case 9: {vip}, the director among its real servers: {answers}"
        ));
    }
    Ok(())
}

/// Nobody answers, and nobody says that nobody does; by the director's own addresses the same servers answer.
fn undeclared(scene: &Scene, client: &Host) -> Result<()> {
    let mut wanted: Vec<(Endpoint, u32)> = Vec::new();
    for address in VIPS.into_iter().chain(OWN) {
        wanted.extend([(tcp(address, 22)?, 1), (udp(address, 22)?, 1)]);
    }
    let answers = traffic::ask(client, &wanted)?;
    for address in OWN {
        for at in [tcp(address, 22)?, udp(address, 22)?] {
            answers[&at]
                .expect_all()
                .with_context(|| format!("case 8: {at} does not answer at all"))?;
        }
    }
    for vip in VIPS {
        for at in [tcp(vip, 22)?, udp(vip, 22)?] {
            let failed = &answers[&at].failed;
            let reason = failed
                .first()
                .map(|failure| failure.reason.to_lowercase())
                .unwrap_or_default();
            scene.step(&format!("case 8: {at}: {reason}"));
            let silent = ["timed out", "temporarily unavailable"]
                .iter()
                .any(|words| reason.contains(words));
            ensure!(
                failed.len() == 1 && silent,
                "case 8: {at} is not silent: {}",
                answers[&at]
            );
        }
    }
    Ok(())
}

fn pinged(scene: &Scene, client: &Host) -> Result<()> {
    for vip in VIPS {
        let said = client.run(&format!("ping -c 2 -i 0.2 -W 3 {vip}"))?;
        ensure!(said.contains(" 0% packet loss"), "case 8: {said}");
    }
    scene.step("case 8: ping answers");
    Ok(())
}

/// A neighbour that was not heard of for a while is asked again by unicast, which is a packet to the VIP.
fn neighbour(scene: &Scene, client: &Host) -> Result<()> {
    let [_, vip] = VIPS;
    client.run("sysctl -qw net.ipv6.neigh.eth0.delay_first_probe_time=1")?;
    let entry = || client.run(&format!("ip -6 neigh show {vip} dev eth0"));
    let known = entry()?;
    let mac = known.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    let mac = mac.context("the VIP was never a neighbour")?.to_owned();
    client.run(&format!("ip -6 neigh replace {vip} lladdr {mac} dev eth0 nud stale"))?;
    ensure!(entry()?.contains("STALE"), "case 8: {}", entry()?);
    let solicited = Capture::start(client, "eth0", &format!("icmp6 and ip6[40] = 135 and dst host {vip}"))?;
    client.run(&format!("ping -c 1 -W 3 {vip}"))?;
    let reachable = || Ok(entry()?.contains("REACHABLE").then_some(()));
    let (_, took) = clock::until("the neighbour is reachable", LIMIT, reachable)?;
    let unicast = solicited.stop()?.count("")?;
    scene.step(&format!(
        "case 8: from STALE to REACHABLE within {took:.1?}, by {unicast} unicast solicitations"
    ));
    ensure!(unicast > 0, "case 8: nobody asked");
    Ok(())
}

/// The guard knows no ports.
fn another_port(scene: &Scene, director: &Host) -> Result<()> {
    let capture = netlink_capture::start(director)?;
    shop::patch(scene, "virtualservice/web", r#"{"ports":[{"port":80},{"port":443}]}"#)?;
    shop::table(director, "another port", |lines| {
        lines.iter().filter(|line| line.contains(":443 -r ")).count() == 4
    })?;
    thread::sleep(Duration::from_secs(1));
    let writes: Writes = capture.stop()?;
    scene.step(&format!("case 8: another port: {writes}"));
    ensure!(
        writes.to_string() == "ipvs NEW_DEST × 4, ipvs NEW_SERVICE × 2",
        "case 8: {writes}"
    );
    Ok(())
}
