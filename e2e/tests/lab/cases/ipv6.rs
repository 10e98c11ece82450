//! A director's IPv6 addresses: a VIP must not become the address that the director itself speaks from.

use anyhow::{Result, ensure};
use e2e::product::AgentOptions;
use e2e::scene::Scene;
use e2e::topology;
use e2e::{oracle, traffic};
use serde_json::json;

use super::{group, in_turn, real_server, seen, serve, service, tcp};
use crate::shop::{self, NODES};

const DR: &str = "fd56::180";
const FULL_NAT: &str = "fd56::165";
const OWN: &str = "fd56::10";
const REAL_SERVERS: [&str; 2] = ["fd56::30", "fd56::40"];

pub(super) fn ipv6(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    // The kernel's default, which the lab's hosts do without. The real servers have the VIP, too.
    director.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.all.accept_dad=1")?;
    let ports = json!([{"port": 80}]);
    let objects = [
        group(&json!({})),
        real_server(
            "rs1",
            "web",
            &json!({"nodeName": "rs1", "addresses": [REAL_SERVERS[0]]}),
        ),
        real_server(
            "rs2",
            "web",
            &json!({"nodeName": "rs2", "addresses": [REAL_SERVERS[1]]}),
        ),
        service("direct", "web", &[DR], &ports, &json!({"forwardingMethod": "DR"})),
        service(
            "translated",
            "web",
            &[FULL_NAT],
            &ports,
            &json!({"forwardingMethod": "FullNAT"}),
        ),
    ];
    serve(scene, &objects, &["direct", "translated"])?;
    for vip in [DR, FULL_NAT] {
        let shown = director.run(&format!("ip -6 -o address show dev eth0 to {vip}"))?;
        scene.step(&format!("case 15: {}", shown.trim()));
        let has = |word: &str| shown.split_whitespace().any(|found| found == word);
        ensure!(has("deprecated") && has("nodad"), "case 15: {shown}");
        ensure!(!has("tentative") && !has("dadfailed"), "case 16: {shown}");
    }
    for address in REAL_SERVERS {
        let own = traffic::requests(&director, &format!("http://[{address}]"), 2)?;
        own.expect_all()?;
        scene.step(&format!(
            "case 15: the director asks {address}, which sees {:?}",
            seen(&own)
        ));
        ensure!(seen(&own) == [OWN], "case 15: {:?}", own.by_client);
    }
    for (vip, client_seen) in [(DR, "fd56::200"), (FULL_NAT, OWN)] {
        let answers = in_turn(&client, tcp(vip, 80)?, 4, &["rs1", "rs2"])?;
        ensure!(
            seen(&answers) == [client_seen],
            "case 15: {vip}: {:?}",
            answers.by_client
        );
    }
    let vips = [DR, FULL_NAT].map(str::to_owned);
    for (vip, answers) in oracle::neighbour_answers(&client, &vips)? {
        scene.step(&format!("case 16: {vip} is answered for by {answers:?}"));
        ensure!(
            answers.into_iter().eq([director.mac()?]),
            "case 16: not the director alone"
        );
    }
    Ok(())
}
