//! Two real servers with one address, and a real server that takes few connections.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::topology;
use e2e::{clock, oracle, traffic};
use serde_json::json;

use super::{SHOP, group, real_server, serve, service};
use crate::shop::{self, LIMIT, NODES};

const VIP: &str = "192.168.56.100";
/// The group's `timeouts.tcpFinSeconds`.
const CLOSING: Duration = Duration::from_secs(4);

pub(super) fn thresholds(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let objects = [
        group(&json!({"timeouts": {"tcpFinSeconds": CLOSING.as_secs()}})),
        real_server("elder", "web", &json!({"nodeName": "rs1", "upperThreshold": 2})),
        service("web", "web", &[VIP], &json!([{"port": 80}]), &json!({})),
    ];
    serve(scene, &objects, &["web"])?;
    closing_ones_count(scene)?;
    let director = scene.host("dir1")?;
    let kept = oracle::ipvs(&director)?;
    // Ages are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    scene.apply(&real_server("younger", "web", &json!({"nodeName": "rs1", "weight": 9})))?;
    let refused = ("Accepted", "False", "AddressConflict");
    let words = "192.168.56.30";
    let (said, took) = scene
        .control_plane()
        .wait_until_said(SHOP, "realserver/younger", refused, words)?;
    scene.step(&format!("case 30: the younger of two is refused after {took:.1?}"));
    ensure!(oracle::ipvs(&director)? == kept, "case 30: the table changed: {said:#}");
    Ok(())
}

/// A real server is full by connections that are closing, too: as the field's description says.
fn closing_ones_count(scene: &Scene) -> Result<()> {
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let url = format!("http://{VIP}");
    let answers = traffic::requests(&client, &url, 3)?;
    let loads = oracle::loads(&director, &format!("{VIP}:80"))?;
    let load = loads.values().next().context("no destination")?;
    scene.step(&format!("case 30: upperThreshold 2: {answers}; {load:?}"));
    ensure!(
        answers.of("rs1") == 2 && answers.failed.len() == 1,
        "case 30: {answers}"
    );
    ensure!(answers.failed[0].reason.contains("connect"), "case 30: {answers}");
    ensure!((load.active, load.inactive) == (0, 2), "case 30: {load:?}");
    let served = || Ok(traffic::requests(&client, &url, 1)?.failed.is_empty().then_some(()));
    let (_, took) = clock::until("it takes another one", LIMIT, served)?;
    scene.step(&format!("case 30: another one after {took:.1?}"));
    ensure!(took < CLOSING + Duration::from_secs(3), "case 30: full for {took:?}");
    let explained = scene
        .control_plane()
        .kubectl(&["explain", "realservers.lvs-operator.io.spec.upperThreshold"], None)?;
    ensure!(explained.contains("closing"), "case 30: {explained}");
    Ok(())
}
