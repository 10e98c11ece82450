//! Senders of UDP from one port, who never pause: nothing ends their connection but its timeout, and every packet could
//! keep alive what should be forgotten.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::scene::Scene;
use e2e::topology::Host;
use e2e::traffic::Stream;
use serde_json::json;

use super::three_ways::{self, DR, FULL_NAT, UDP_PORT, real_server_of};
use super::{delete, real_server, serve, service, udp};
use crate::shop::{self, LIMIT};

/// The group's `timeouts.udpSeconds`.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What the removal itself and a slow machine may take beside it.
const BESIDE: Duration = Duration::from_secs(3);
/// Without real servers at first.
const LATE: &str = "192.168.56.161";

pub(super) fn removals(scene: &Scene) -> Result<()> {
    three_ways::open(scene, &json!({"timeouts": {"udpSeconds": TIMEOUT.as_secs()}}))?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    removed(scene, "f8: DR", (&client, &director), (DR, "dr"))?;
    removed(scene, "f9: FullNAT", (&client, &director), (FULL_NAT, "full"))?;
    from_none_to_one(scene, &client)
}

/// The real server of a sender goes; it meets another one when its connection's timeout has passed, though it sends on.
fn removed(scene: &Scene, case: &str, (client, director): (&Host, &Host), (vip, app): (&str, &str)) -> Result<()> {
    let stream = Stream::start(client, &udp(vip, UDP_PORT)?)?;
    let (served, _) = stream.answered(LIMIT, |_| true)?;
    delete(scene, &["realserver", &real_server_of(app, &served)])?;
    shop::table(director, "it is gone", |lines| {
        lines.iter().filter(|line| line.contains(&format!("-u {vip}:"))).count() == 2
    })?;
    let (next, took) = stream.answered(TIMEOUT + BESIDE, |server| server != served)?;
    let unanswered = stream.answers()?.iter().filter(|(_, server)| server.is_none()).count();
    scene.step(&format!(
        "{case}: {served} removed, {next} answers {took:.1?} later; {unanswered} requests unanswered"
    ));
    let address = if served == "rs1" {
        "192.168.56.30"
    } else {
        "192.168.56.40"
    };
    let entries = director.run("ipvsadm -Lnc")?;
    let stale = |line: &&str| line.starts_with("UDP") && line.contains(vip) && line.contains(address);
    let stale: Vec<_> = entries.lines().filter(stale).collect();
    ensure!(stale.is_empty(), "{case}: {stale:#?}");
    let tracked = director.run("conntrack -L -p udp")?;
    ensure!(
        !tracked.lines().any(|line| line.contains(vip) && line.contains(address)),
        "{case}: {tracked}"
    );
    Ok(())
}

/// What was tracked while nobody could answer must not stand in the way of the first who can.
fn from_none_to_one(scene: &Scene, client: &Host) -> Result<()> {
    let ports = json!([{"protocol": "UDP", "port": UDP_PORT}]);
    scene.apply(&service(
        "late",
        "late",
        &[LATE],
        &ports,
        &json!({"forwardingMethod": "FullNAT"}),
    ))?;
    let director = scene.host("dir1")?;
    shop::table(&director, "the service is there", |lines| {
        lines.iter().any(|line| line.starts_with(&format!("-A -u {LATE}:")))
    })?;
    let stream = Stream::start(client, &udp(LATE, UDP_PORT)?)?;
    thread::sleep(Duration::from_secs(1));
    ensure!(
        stream.answers()?.iter().all(|(_, server)| server.is_none()),
        "f9: somebody answers"
    );
    serve(
        scene,
        &[real_server("late1", "late", &json!({"addresses": ["192.168.56.30"]}))],
        &["late"],
    )?;
    let (server, took) = stream.answered(BESIDE, |_| true)?;
    scene.step(&format!(
        "f9: the first real server, {server}, answers {took:.1?} after it is ready"
    ));
    ensure!(server == "rs1", "f9: {server}");
    Ok(())
}
