//! Somebody flushes IPVS while connections are in use: what the guard behind IPVS is for.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::Capture;
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::Host;
use e2e::traffic::{ECHO, Held};
use e2e::{clock, oracle};
use serde_json::json;

use super::three_ways::{self, DR, FULL_NAT, NAT};
use super::{SHOP, tcp};
use crate::shop::{self, LIMIT};

/// Three services of three ports, with two, one and two destinations a port.
const ENTRIES: usize = 3 * 3 + 3 * (2 + 1 + 2);
const ROUNDS: u32 = 3;
/// A repair takes half a second and TCP sends again after 0.2, 0.6 and 1.4 s, and as many round trips later; a repair of a busy
/// machine takes longer, and the next time is 3.0 s and 15 round trips. The one after that is 6.2 s.
const STALL: Duration = Duration::from_millis(4000);
const NODEST: &str = "net.ipv4.vs.expire_nodest_conn";

pub(super) fn flush(scene: &Scene) -> Result<()> {
    three_ways::open(scene, &json!({}))?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    ensure!(
        oracle::sysctl(&director, NODEST)? == "0",
        "f6: not the kernel's default"
    );
    let held = [DR, NAT, FULL_NAT]
        .map(|vip| Ok((vip, Held::open(&client, &tcp(vip, ECHO)?, 4)?.0)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..ROUNDS {
        director.run("ipvsadm -C")?;
        let took = shop::table(&director, "the table is whole", |lines| lines.len() == ENTRIES)?;
        scene.step(&format!("case 7: flushed, and whole after {took:.2?}"));
        thread::sleep(Duration::from_millis(1500));
    }
    let stall = lives(scene, &held, "case 7")?;
    ensure!(stall < STALL, "case 7: they stood still for {stall:?}");
    told(scene, &director)?;
    without_an_agent(scene, &client, &director)?;
    lives(scene, &held, "case 23")?;
    ensure!(oracle::sysctl(&director, NODEST)? == "0", "f6: it was written");
    scene.step("f6: expire_nodest_conn is 0, and no repair broke a connection");
    Ok(())
}

/// Each connection answers again, and how long the slowest answer took.
fn lives(scene: &Scene, held: &[(&str, Held)], case: &str) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for (vip, held) in held {
        held.all_answer(LIMIT).with_context(|| format!("{case}: {vip}"))?;
        let lost = held.lost()?;
        ensure!(lost.is_empty(), "{case}: {lost:#?}");
        scene.step(&format!(
            "{case}: {vip}: 4 of 4 connections live, slowest answer {:.2?}",
            held.slowest()?
        ));
        slowest = slowest.max(held.slowest()?);
    }
    Ok(slowest)
}

/// An Event and a counter say what was repaired.
fn told(scene: &Scene, director: &Host) -> Result<()> {
    let repaired = |event: &serde_json::Value| {
        event["reason"] == "Repaired" && event["note"].as_str().is_some_and(|note| note.contains("ipvsadm -A"))
    };
    let (_, took) = scene.control_plane().wait_for(
        "an Event says it",
        LIMIT,
        &["-n", SHOP, "events.events.k8s.io"],
        |list| {
            list["items"]
                .as_array()
                .is_some_and(|events| events.iter().any(repaired))
        },
    )?;
    let metrics = director.run("curl -sS http://127.0.0.1:9479/metrics")?;
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("lvs_agent_ipvs_count_mismatches_total "));
    scene.step(&format!(
        "case 7: an Event after {took:.1?}, {} flushes counted",
        counted.unwrap_or("no")
    ));
    ensure!(counted.is_some_and(|count| count != "0"), "{metrics}");
    Ok(())
}

/// A VIP without services, as after an agent that died in between: nobody is told that his connection does not exist.
fn without_an_agent(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    scene.stop_agent("dir1", Signal::Kill)?;
    let resets = Capture::start(client, "eth0", "tcp[tcpflags] & tcp-rst != 0")?;
    director.run("ipvsadm -C")?;
    let begin = clock::now();
    let connect = format!("timeout 1 bash -c 'true <> /dev/tcp/{DR}/80'");
    let status = client.attempt(Program::shell(&connect))?.status;
    ensure!(status == 124, "case 23: a new client is not left waiting: {status}");
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    shop::table(director, "the table is whole", |lines| lines.len() == ENTRIES)?;
    let without = begin.elapsed();
    thread::sleep(Duration::from_millis(1500));
    let resets = resets.stop()?.lines("")?;
    scene.step(&format!(
        "case 23: {without:.1?} with a VIP and no service: {} resets",
        resets.len()
    ));
    ensure!(resets.is_empty(), "case 23: {resets:#?}");
    Ok(())
}
