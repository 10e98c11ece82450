//! FullNAT: what it does to the director's own stack, and to the connections that it already has.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::guest_process::GuestProcess;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use e2e::traffic::{self, ECHO, Held};
use e2e::{clock, oracle};
use serde_json::json;

use super::{ask, delete, group, in_turn, real_server, seen, serve, service, tcp};
use crate::shop::{self, LIMIT};

const VIPS: [&str; 2] = ["192.168.56.160", "fd56::160"];
/// The client and the inside of the director, by family.
const CLIENT: [&str; 2] = ["192.168.56.200", "fd56::200"];
const INSIDE: [&str; 2] = ["10.0.0.1", "fd10::1"];
const POOL: [&str; 2] = ["10.0.0.11", "10.0.0.12"];
/// Of case 13.
const DRAIN: Duration = Duration::from_secs(8);
/// What must be as before in the end.
const KNOBS: [&str; 5] = [
    "net.ipv6.conf.eth0.accept_ra",
    "net.ipv6.conf.eth1.accept_ra",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.eth1.forwarding",
    "net.ipv4.vs.conntrack",
];
/// Says when there is no default route by eth0. Without a fork: a gap may be short. A reading of the file that goes on while
/// routes change skips some, so one must miss it twice; what the kernel drops is back with the next advertisement only.
const WATCH: &str = "echo watching; missed=0; while :; do found=no
    while read -r line; do case $line in 00000000000000000000000000000000\\ 00\\ *eth0) found=yes;; esac; done < /proc/net/ipv6_route
    [ $found = yes ] && missed=0 || missed=$((missed + 1))
    [ $missed -lt 2 ] || { read up rest < /proc/uptime; echo lost at $up; sleep 1; }; done";

pub(super) fn full_nat(scene: &Scene) -> Result<()> {
    let real_servers = [("rs1", 30), ("rs2", 40)];
    shop::open(
        scene,
        &topology::director_between("dir1", &real_servers),
        &AgentOptions::default(),
    )?;
    for (name, _) in real_servers {
        scene.keep(traffic::echo(&*scene.host(name)?, &[tcp("0.0.0.0", ECHO)?])?);
    }
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let before = KNOBS.map(|knob| oracle::sysctl(&director, knob));
    advertised(&client, &director)?;
    let watch = director.start(Program::shell(WATCH), "watch", false)?;
    watch.wait_for("watching", LIMIT)?;
    let objects = [
        group(&json!({})),
        real_server(
            "rs1",
            "web",
            &json!({"nodeName": "rs1", "addresses": ["10.0.0.30", "fd10::30"]}),
        ),
        real_server(
            "rs2",
            "web",
            &json!({"addresses": ["10.0.0.40", "fd10::40"], "forwardingMethod": "FullNAT"}),
        ),
        service(
            "web",
            "web",
            &VIPS,
            &json!([{"port": 80}, {"port": ECHO}]),
            &json!({"forwardingMethod": "NAT"}),
        ),
    ];
    serve(scene, &objects, &["web"])?;
    both_methods(scene, &client)?;
    sources_in_turn(scene, &client, &director)?;
    no_longer(scene, &client, &director)?;
    drained(scene, &client, &director)?;
    given_back(scene, &director, &watch, before)
}

/// The client advertises itself as a router: 30 minutes, no prefix. The kernel fills in the checksum; and must forward, or
/// its neighbour advertisements would say that it is no router any more.
fn advertised(client: &Host, director: &Host) -> Result<()> {
    let links = director.run("ip -6 -o address show dev eth0 scope link")?;
    let own = links
        .split_whitespace()
        .find_map(|word| word.strip_suffix("/64"))
        .context("no link-local address")?;
    let advertisement = "\\206\\000\\000\\000\\100\\000\\007\\010\\000\\000\\000\\000\\000\\000\\000\\000";
    client.shell(&format!(
        "set -e; sysctl -qw net.ipv6.conf.eth0.hop_limit=255 net.ipv6.conf.eth0.forwarding=1
        printf '{advertisement}' | socat -u - 'IP6-SENDTO:[{own}%eth0]:58'"
    ))?;
    let learned = || {
        Ok(director
            .run("ip -6 route show default dev eth0")?
            .contains("proto ra")
            .then_some(()))
    };
    clock::until("a default route was learned", LIMIT, learned).map(drop)
}

/// rs1 by NAT sees the client, rs2 by FullNAT the director, in one service, and never the VIP.
fn both_methods(scene: &Scene, client: &Host) -> Result<()> {
    for ((vip, own), inside) in VIPS.into_iter().zip(CLIENT).zip(INSIDE) {
        let answers = in_turn(client, tcp(vip, 80)?, 6, &["rs1", "rs2"])?;
        let met = |address: &str| answers.by_client.get(address).map(|servers| servers.join(" "));
        scene.step(&format!(
            "case 12: {vip}: {own} is seen by {:?}, {inside} by {:?}",
            met(own),
            met(inside)
        ));
        ensure!(
            met(own).as_deref() == Some("rs1 rs1 rs1"),
            "case 12: {:?}",
            answers.by_client
        );
        ensure!(
            met(inside).as_deref() == Some("rs2 rs2 rs2"),
            "case 12: {:?}",
            answers.by_client
        );
    }
    Ok(())
}

/// Several source addresses are used in turn, so that each is good for its own share of ports.
fn sources_in_turn(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    let full_nat = json!({"spec": {"fullNAT": {"sourceAddresses": POOL}}}).to_string();
    scene.control_plane().kubectl(
        &["patch", "directorgroup/default", "--type=merge", "-p", &full_nat],
        None,
    )?;
    let held = || Ok(oracle::has_address(director, "eth1", POOL[1])?.then_some(()));
    clock::until("the director has the source addresses", LIMIT, held)?;
    let answers = in_turn(client, tcp(VIPS[0], 80)?, 16, &["rs1", "rs2"])?;
    let counts = POOL.map(|address| answers.by_client.get(address).map_or(0, Vec::len));
    let statistics = director.run("conntrack -S")?;
    let failures = statistics
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("insert_failed="));
    let failures: Vec<&str> = failures.collect();
    scene.step(&format!(
        "case 14: rs2 sees {POOL:?} {counts:?} times; insert_failed {}",
        failures.join(" ")
    ));
    ensure!(counts == [4, 4], "case 14: {:?}", answers.by_client);
    ensure!(failures.iter().all(|count| *count == "0"), "case 14: {statistics}");
    Ok(())
}

/// The last FullNAT destination is none any more: its connections live on, for which connection tracking has to stay.
fn no_longer(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    let (held, answers) = Held::open(client, &tcp(VIPS[0], ECHO)?, 2)?;
    ensure!(answers.of("rs2") == 1, "case 13: {answers}");
    shop::patch(scene, "realserver/rs2", r#"{"forwardingMethod":"NAT"}"#)?;
    let is_nat = || {
        let answers = ask(client, tcp(VIPS[0], 80)?, 2)?;
        Ok((answers.failed.is_empty() && seen(&answers) == [CLIENT[0]]).then_some(()))
    };
    let (_, took) = clock::until("rs2 sees the client", LIMIT, is_nat)?;
    thread::sleep(Duration::from_secs(2));
    held.all_answer(LIMIT).context("case 13")?;
    let lost = held.lost()?;
    let table = director.run("nft list table inet lvs_operator")?;
    scene.step(&format!(
        "case 13: NAT after {took:.1?}; {} connections lost 2 s later",
        lost.len()
    ));
    ensure!(lost.is_empty(), "case 13: {lost:#?}");
    ensure!(
        table.contains("ct state invalid") && table.contains("hook postrouting"),
        "case 13: {table}"
    );
    ensure!(
        !table.contains("goto fullnat_"),
        "case 13: somebody is FullNAT still: {table}"
    );
    Ok(())
}

/// It is one again and leaves for good: its connections live until the deadline, by the rules that they were made with, and
/// are told then.
fn drained(scene: &Scene, client: &Host, director: &Host) -> Result<()> {
    let seconds = DRAIN.as_secs();
    shop::patch(
        scene,
        "virtualservice/web",
        &format!("{{\"drain\":{{\"timeoutSeconds\":{seconds}}}}}"),
    )?;
    shop::patch(scene, "realserver/rs2", r#"{"forwardingMethod":"FullNAT"}"#)?;
    let is_full_nat = || {
        let answers = ask(client, tcp(VIPS[0], 80)?, 4)?;
        Ok((answers.failed.is_empty() && seen(&answers).iter().any(|seen| POOL.contains(seen))).then_some(()))
    };
    clock::until("rs2 sees the director", LIMIT, is_full_nat)?;
    let (held, answers) = Held::open(client, &tcp(VIPS[0], ECHO)?, 2)?;
    ensure!(answers.of("rs2") == 1, "case 13: {answers}");
    let begin = clock::now();
    let delete = ["-n", "shop", "delete", "realserver/rs2", "--wait=false"];
    scene.control_plane().kubectl(&delete, None)?;
    shop::takes_nobody_new(director, "10.0.0.40")?;
    thread::sleep((DRAIN - Duration::from_secs(2)).saturating_sub(begin.elapsed()));
    let lost = held.lost()?;
    ensure!(lost.is_empty(), "case 13: before the deadline: {lost:#?}");
    held.all_answer(LIMIT).context("case 13")?;
    let told = || Ok(Some(held.lost()?).filter(|lost| !lost.is_empty()));
    let (lost, _) = clock::until("its connection has ended", LIMIT, told)?;
    let took = begin.elapsed();
    scene.step(&format!(
        "case 13: rs2 deleted, a drain of {seconds} s: {} lost after {took:.1?}: {}",
        lost.len(),
        lost.join("; ")
    ));
    ensure!(took >= DRAIN, "case 13: lost after {took:?}");
    ensure!(
        lost.len() == 1 && lost[0].contains("reset"),
        "case 13: not that of rs2 alone, or not told: {lost:#?}"
    );
    shop::table(director, "rs2 is gone", |lines| {
        !lines.iter().any(|line| line.contains("-r 10.0.0.40"))
    })
    .map(drop)
}

fn given_back(scene: &Scene, director: &Host, watch: &GuestProcess, before: [Result<String>; 5]) -> Result<()> {
    delete(scene, &["virtualservice/web"])?;
    shop::services_gone(scene)?;
    for (knob, before) in KNOBS.into_iter().zip(before) {
        let (before, now) = (before?, oracle::sysctl(director, knob)?);
        ensure!(now == before, "case 11: {knob} is {now}, not {before}");
    }
    let said = watch.output()?;
    let route = director.run("ip -6 route show default dev eth0")?;
    scene.step(&format!(
        "case 11: knobs as before, the learned route all the time: {}",
        route.trim()
    ));
    ensure!(
        !said.contains("lost") && route.contains("proto ra"),
        "case 11: {route}{said}"
    );
    Ok(())
}
