//! FullNAT to a real server behind an overlay network: packets are translated, then wrapped in UDP. Where both were given
//! a random source port, checksums were wrong, and answers took up to a minute.

use anyhow::{Result, ensure};
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology;
use serde_json::json;

use super::{group, in_turn, real_server, seen, serve, service, tcp};
use crate::shop::{self, NODES};

const VIP: &str = "192.168.56.165";
const OVERLAY: [&str; 2] = ["10.42.0.10", "10.42.0.30"];
const UPLOAD: u32 = 1_000_000;
/// TCP sends a first packet again after a second.
const DELAYED_MILLISECONDS: u64 = 900;

pub(super) fn overlay(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let (client, director, server) = (scene.host("client")?, scene.host("dir1")?, scene.host("rs1")?);
    for (host, remote, own) in [(&director, &server, OVERLAY[0]), (&server, &director, OVERLAY[1])] {
        let (local, remote) = (&host.address, &remote.address);
        host.shell(&format!(
            "set -e; ip link add vx0 type vxlan id 42 local {local} remote {remote} dstport 4789 dev eth0
            ip address add {own}/24 dev vx0; ip link set vx0 up"
        ))?;
    }
    scene.keep(super::upload_server(&server)?);
    let objects = [
        // What the director translates for the overlay itself is a second reason to rewrite the same packets.
        group(&json!({"masquerade": [{"sourceCIDR": "10.42.0.0/24"}]})),
        real_server("wrapped", "web", &json!({"addresses": [OVERLAY[1]]})),
        service(
            "web",
            "web",
            &[VIP],
            &json!([{"port": 80}, {"port": 8081}]),
            &json!({"forwardingMethod": "FullNAT"}),
        ),
    ];
    serve(scene, &objects, &["web"])?;
    let answers = in_turn(&client, tcp(VIP, 80)?, 20, &["rs1"])?;
    scene.step(&format!("f23: {answers}, seen as {:?}", seen(&answers)));
    ensure!(seen(&answers) == [OVERLAY[0]], "f23: {:?}", answers.by_client);
    ensure!(answers.slowest_milliseconds < DELAYED_MILLISECONDS, "f23: {answers}");
    let send = format!("head -c {UPLOAD} /dev/zero | timeout 30 socat -t 20 - TCP4:{VIP}:8081");
    let output = client.program(Program::shell(&send))?;
    scene.step(&format!("f23: {UPLOAD} bytes up in {:.1} s", output.took.as_secs_f64()));
    ensure!(
        output.stdout.trim() == UPLOAD.to_string(),
        "f23: {} of {UPLOAD} bytes",
        output.stdout
    );
    let table = director.run("nft list table inet lvs_operator")?;
    ensure!(
        table.contains("masquerade") && !table.contains("random"),
        "f23: {table}"
    );
    let wrong = server.run("nstat -asz UdpInCsumErrors TcpInCsumErrors")?;
    let counts: Vec<_> = wrong.lines().filter(|line| line.contains("Csum")).collect();
    let zero = |line: &&str| line.split_whitespace().nth(1) == Some("0");
    ensure!(
        counts.len() == 2 && counts.iter().all(zero),
        "f23: wrong checksums: {wrong}"
    );
    Ok(())
}
