//! IPsec through a VIP: ESP has no ports, and follows the client's ISAKMP to the same real server.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::Capture;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{self, Host};
use e2e::traffic;
use serde_json::json;

use super::{group, object, real_server, serve, service, udp};
use crate::shop::{self, NODES};

const ISAKMP: &str = "192.168.56.185";
const MARKED: &str = "192.168.56.186";
/// A client of each real server, one that has sent no ISAKMP, and one of the mark.
const CLIENTS: [u8; 4] = [201, 202, 203, 204];
/// What somebody else's rules do.
const MARKS: &str = "nft -f - <<END
table ip marks {
    chain in {
        type filter hook prerouting priority mangle;
        ip daddr 192.168.56.186 meta mark set 10
    }
}
END";

pub(super) fn esp(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let client = scene.host("client")?;
    let servers = [scene.host("rs1")?, scene.host("rs2")?];
    for host in &servers {
        scene.keep(traffic::echo(host, &[udp(ISAKMP, 500)?])?);
    }
    let mark = json!({
        "addresses": [{"address": MARKED}], "firewallMark": 10, "scheduler": "rr", "healthChecks": [{"none": {}}],
        "realServerSelector": {"matchLabels": {"app": "vpn"}},
    });
    let objects = [
        group(&json!({})),
        real_server("rs1", "vpn", &json!({"nodeName": "rs1"})),
        real_server("rs2", "vpn", &json!({"nodeName": "rs2"})),
        service(
            "isakmp",
            "vpn",
            &[ISAKMP],
            &json!([{"protocol": "UDP", "port": 500}]),
            &json!({}),
        ),
        object("VirtualService", "by-mark", "vpn", &mark),
    ];
    serve(scene, &objects, &["isakmp", "by-mark"])?;
    scene.host("dir1")?.shell(MARKS)?;
    let more: String = CLIENTS
        .map(|last| format!("ip address add 192.168.56.{last}/24 dev eth0\n"))
        .concat();
    client.shell(&format!("set -e\n{more}"))?;
    let met = [meets(&client, CLIENTS[0])?, meets(&client, CLIENTS[1])?];
    ensure!(met[0] != met[1], "case 25: two clients met {met:?}");
    let captures = servers.iter().map(|host| Capture::start(host, "eth0", "ip proto 50"));
    let captures: Vec<_> = captures.collect::<Result<_>>()?;
    for last in &CLIENTS[..3] {
        send(&client, *last, ISAKMP)?;
    }
    send(&client, CLIENTS[3], MARKED)?;
    thread::sleep(Duration::from_millis(500));
    for (host, capture) in servers.iter().zip(captures) {
        let packets = capture.stop()?;
        let from = |last: &u8| packets.count(&format!("src host 192.168.56.{last}"));
        let counts: Vec<usize> = CLIENTS.iter().map(from).collect::<Result<_>>()?;
        scene.step(&format!(
            "case 25: {} has ESP of the clients {CLIENTS:?}: {counts:?}",
            host.name
        ));
        let own = |at: usize| usize::from(met[at] == host.name);
        ensure!(
            counts == [own(0), own(1), 0, 0],
            "case 25: the clients met {met:?} by ISAKMP"
        );
    }
    Ok(())
}

/// From port 500 to port 500: whom a client meets.
fn meets(client: &Host, last: u8) -> Result<String> {
    let line = format!("socat -T 4 - UDP4:{ISAKMP}:500,bind=192.168.56.{last}:500");
    let ask = format!("(printf 'who?'; sleep 1) | {line}");
    let said = client.program(Program::shell(&ask))?.stdout;
    said.split_whitespace().next().map(str::to_owned).context("no answer")
}

/// One packet: an index, a number, and something secret.
fn send(client: &Host, last: u8, vip: &str) -> Result<()> {
    let line = format!("socat -u - IP4-SENDTO:{vip}:50,bind=192.168.56.{last}");
    client
        .shell(&format!(
            "printf '\\000\\000\\001\\000\\000\\000\\000\\001something secret' | {line}"
        ))
        .map(drop)
}
