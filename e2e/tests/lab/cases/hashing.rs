//! Schedulers that hash clients: one real server that cannot serve must not cost its share of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use e2e::endpoint::Endpoint;
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::topology::{self, Host, HostPlan};
use e2e::traffic::{self, Answers, ECHO};
use serde_json::json;

use super::{SHOP, group, real_server, serve, service, tcp};
use crate::shop::{self, NODES};

/// With the flags that are the default, and with none.
const SERVICES: [(&str, &str, bool); 4] = [
    ("sh", "192.168.56.101", true),
    ("mh", "192.168.56.102", true),
    ("sh-bare", "192.168.56.103", false),
    ("mh-bare", "192.168.56.104", false),
];

pub(super) fn hashing(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    scene.lay(&[HostPlan::node("rs3", 50)])?;
    scene.register("rs3")?;
    for name in ["rs1", "rs2", "rs3"] {
        scene.keep(traffic::echo(&*scene.host(name)?, &[tcp("0.0.0.0", ECHO)?])?);
    }
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    // A client that comes by a port of its former connection is scheduled anew.
    shop::set_conn_reuse_mode(&director, 3)?;
    let more: String = (201..=216)
        .map(|last| format!("ip address add 192.168.56.{last}/24 dev eth0\n"))
        .collect();
    client.shell(&format!("set -e\n{more}"))?;
    let mut objects = vec![group(&json!({}))];
    objects.extend(["rs1", "rs2", "rs3"].map(|name| real_server(name, "echo", &json!({"nodeName": name}))));
    objects.extend(SERVICES.map(|(name, vip, by_default)| {
        let scheduler = json!({"scheduler": &name[..2]});
        let bare = json!({"scheduler": &name[..2], "schedulerFlags": []});
        service(
            name,
            "echo",
            &[vip],
            &json!([{"port": ECHO}]),
            if by_default { &scheduler } else { &bare },
        )
    }));
    serve(scene, &objects, &SERVICES.map(|(name, _, _)| name))?;
    unprepared(scene, &client, &director)?;
    scene.start_agent("rs3", &AgentOptions::default())?;
    shop::table(&director, "rs3 is prepared", |lines| {
        destinations(lines) == SERVICES.len() * 3
    })?;
    quiesced(scene, &client, &director)
}

fn destinations(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("-a ")).count()
}

/// Each of sixteen clients asks once.
fn ask(client: &Host, vip: &str) -> Result<Answers> {
    let sources: Vec<_> = (201..=216).map(|last| format!("192.168.56.{last}")).collect();
    let at = tcp(vip, ECHO)?;
    let mut answers: BTreeMap<Endpoint, Answers> = traffic::ask_from(client, &sources, &[(at, 1)])?;
    Ok(answers.remove(&at).unwrap_or_default())
}

/// A real server whose host nobody has prepared is not in the table: weight 0 would refuse clients.
fn unprepared(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    shop::table(director, "two real servers each", |lines| {
        destinations(lines) == SERVICES.len() * 2
    })?;
    for (name, vip, _) in SERVICES {
        let answers = ask(client, vip)?;
        scene.step(&format!("case 3: {name}, rs3 unprepared: {answers}"));
        answers.expect_all()?;
        ensure!(answers.total() == 16, "case 3: {name}: {answers}");
    }
    Ok(())
}

/// By their fallback flags sh and mh refuse nobody, and mh leaves the others where they are; without, the share is lost.
fn quiesced(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    let mut before = BTreeMap::new();
    for (name, vip, _) in SERVICES {
        before.insert(name, ask(client, vip)?);
    }
    shop::patch(scene, "realserver/rs1", r#"{"weight":0}"#)?;
    shop::table(director, "rs1 has weight 0 everywhere", |lines| {
        lines.iter().filter(|line| line.ends_with("-w 0")).count() == SERVICES.len()
    })?;
    for (name, vip, by_default) in SERVICES {
        let warned = warning(scene, name)?;
        scene.step(&format!(
            "case 4: {name}: {}",
            if by_default { "no warning" } else { &warned }
        ));
        ensure!(warned.is_empty() == by_default, "case 4: {name}: {warned}");
        let after = ask(client, vip)?;
        let share = before[name].of("rs1");
        let moved = before[name].by_client.iter().filter(|(source, servers)| {
            servers[0] != "rs1" && after.by_client.get(*source).is_some_and(|now| now != *servers)
        });
        let moved = moved.count();
        scene.step(&format!(
            "case 4: {name}, rs1 with {share} of 16 quiesced: {moved} others moved; {}",
            summary(&after)
        ));
        ensure!(after.of("rs1") == 0, "case 4: {name}: {after}");
        // A scheduler without a fallback refuses those that it would have sent to rs1, a third about.
        ensure!(after.failed.is_empty() == by_default, "case 4: {name}: {after}");
        ensure!(by_default || after.failed.len() <= 10, "case 4: {name}: {after}");
        // sh deals its buckets out anew by the new weights; mh is there for moving few.
        ensure!(name != "mh" || moved <= 2, "case 4: {name} moved {moved}");
    }
    // Draining has no fallback under dh; neither is there yet, and what is not there is not in the schema.
    let drain = json!({"scheduler": "dh", "drain": {"timeoutSeconds": 60}});
    let said = scene.control_plane().refused(&service(
        "dh",
        "echo",
        &["192.168.56.105"],
        &json!([{"port": 80}]),
        &drain,
    ))?;
    ensure!(said.contains("drain"), "case 4: refused for something else: {said}");
    let left: BTreeSet<_> = scene
        .control_plane()
        .kubectl(&["-n", SHOP, "get", "ivs", "-o", "name"], None)?
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(left.len() == SERVICES.len(), "case 4: {left:?}");
    Ok(())
}

/// Condition WithoutFallback.
fn warning(scene: &Scene, service: &str) -> Result<String> {
    let path = "jsonpath={.status.conditions[?(@.type==\"WithoutFallback\")].message}";
    scene
        .control_plane()
        .kubectl(&["-n", SHOP, "get", "ivs", service, "-o", path], None)
}

fn summary(answers: &Answers) -> String {
    let by: Vec<_> = answers
        .by_server
        .iter()
        .map(|(server, number)| format!("{server} {number}"))
        .collect();
    format!("{}; {} refused", by.join(", "), answers.failed.len())
}
