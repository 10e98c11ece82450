//! A client that uses its source port again, while the director still remembers the connection before.

use anyhow::{Result, ensure};
use e2e::scene::Scene;
use e2e::topology::Host;
use e2e::{oracle, traffic};
use serde_json::json;

use super::delete;
use super::three_ways::{self, DR, FULL_NAT, real_server_of};
use crate::shop::{self, CONN_REUSE_MODE};

pub(super) fn same_port(scene: &Scene) -> Result<()> {
    three_ways::open(scene, &json!({}))?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    at_once(scene, &client, &director)?;
    leaves_a_quiesced_one(scene, &client, &director)?;
    by_direct_routing(scene, &client, &director)
}

/// Kernels before 5.9 dropped the first SYN where connections are tracked, so that each took a second.
fn at_once(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    ensure!(
        oracle::sysctl(director, "net.ipv4.vs.conntrack")? == "1",
        "f4: nothing is tracked"
    );
    ensure!(
        oracle::sysctl(director, CONN_REUSE_MODE)? == "1",
        "f4: not the kernel's default"
    );
    let answers = traffic::requests_from_port(client, 40004, &format!("http://{FULL_NAT}"), 8)?;
    scene.step(&format!(
        "f4: FullNAT, one port, tracked: {}; {answers}",
        answers.order.join(" ")
    ));
    answers.expect_all()?;
    ensure!(answers.slowest_milliseconds < 900, "f4: {answers}");
    // Each was scheduled by itself.
    ensure!((answers.of("rs1"), answers.of("rs2")) == (4, 4), "f4: {answers}");
    Ok(())
}

fn leaves_a_quiesced_one(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    let url = format!("http://{FULL_NAT}");
    let first = traffic::requests_from_port(client, 40005, &url, 1)?;
    first.expect_all()?;
    let served = first.order[0].clone();
    quiesce(scene, director, &real_server_of("full", &served), FULL_NAT)?;
    let then = traffic::requests_from_port(client, 40005, &url, 3)?;
    scene.step(&format!("f5: FullNAT, {served} quiesced: {then}"));
    then.expect_all()?;
    ensure!(then.of(&served) == 0, "f5: pinned: {then}");
    Ok(())
}

fn quiesce(scene: &Scene, director: &Host, name: &str, vip: &str) -> Result<()> {
    shop::patch(scene, &format!("realserver/{name}"), r#"{"weight":0}"#)?;
    let service = format!("-t {vip}:80 ");
    shop::table(director, "it is quiesced", |lines| {
        lines
            .iter()
            .any(|line| line.contains(&service) && line.ends_with("-w 0"))
    })
    .map(drop)
}

/// A director sees no answers by direct routing, and with 1 cannot tell that a connection is over: its port stays with the
/// real server, as the README says. With 3 it is scheduled anew; whoever sets that has it left alone.
fn by_direct_routing(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    let url = format!("http://{DR}");
    let first = traffic::requests_from_port(client, 40006, &url, 3)?;
    first.expect_all()?;
    let served = first.order[0].clone();
    let name = real_server_of("dr", &served);
    quiesce(scene, director, &name, DR)?;
    let pinned = traffic::requests_from_port(client, 40006, &url, 2)?;
    scene.step(&format!("f5: DR, {served} quiesced, {CONN_REUSE_MODE}=1: {pinned}"));
    pinned.expect_all()?;
    ensure!(pinned.of(&served) == 2, "f5: the README says otherwise: {pinned}");
    shop::set_conn_reuse_mode(director, 3)?;
    delete(scene, &["realserver", &name])?;
    shop::table(director, "it is gone", |lines| {
        lines.iter().filter(|line| line.contains("-g -w")).count() == 3
    })?;
    let anew = traffic::requests_from_port(client, 40006, &url, 3)?;
    scene.step(&format!("f5: DR, {served} removed, {CONN_REUSE_MODE}=3: {anew}"));
    anew.expect_all()?;
    ensure!(anew.of(&served) == 0, "f5: {anew}");
    ensure!(
        oracle::sysctl(director, CONN_REUSE_MODE)? == "3",
        "f5: an administrator's value was changed"
    );
    Ok(())
}
