//! The chart's examples, each as it stands: do they serve as their texts say, and leave nothing behind?

use anyhow::{Context, Result, ensure};
use e2e::endpoint::{Endpoint, Transport};
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, HostPlan};
use e2e::traffic;

use crate::shop::{self, Before, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("examples::with_real_servers_inside", inside),
    ("examples::with_remote_real_servers", remote),
    ("examples::sctp_and_ipv6", sctp_and_ipv6),
];

const REAL_SERVERS: [(&str, u8); 2] = [("rs1", 30), ("rs2", 40)];
const CLIENT: &str = "192.168.56.200";
const DIRECTOR: &str = "192.168.56.10";

/// An example, its service, where a client asks, and whom real servers take for the client.
struct Example {
    name: &'static str,
    service: &'static str,
    asked: (Transport, &'static str, u16),
    seen: &'static str,
}

const fn web(name: &'static str, vip: &'static str, seen: &'static str) -> Example {
    Example {
        name,
        service: "web",
        asked: (Transport::Tcp, vip, 80),
        seen,
    }
}

fn open(scene: &Scene, plans: &[HostPlan]) -> Result<Before> {
    shop::open(scene, plans, &AgentOptions::default())
}

/// Asks a service that is there; both real servers answer in turn.
fn asked(scene: &Scene, example: &Example) -> Result<()> {
    let (transport, vip, port) = example.asked;
    let at = Endpoint::new(transport, vip, port)?;
    let answers = traffic::ask(&*scene.host("client")?, &[(at, 6)])?
        .remove(&at)
        .context("no answers")?;
    let seen: Vec<_> = answers.by_client.keys().cloned().collect();
    scene.step(&format!(
        "{}: {at}: {answers}; as the client they see {}",
        example.name,
        seen.join(", ")
    ));
    answers.expect_all()?;
    ensure!(
        (answers.of("rs1"), answers.of("rs2")) == (3, 3),
        "not in turn: {answers}"
    );
    ensure!(seen == [example.seen], "not {}", example.seen);
    Ok(())
}

fn inside(scene: &Scene) -> Result<()> {
    let before = open(scene, &topology::director_between("dir1", &REAL_SERVERS))?;
    scene.keep(traffic::nginx(&*scene.host("client")?, &[80])?);
    for (example, outside) in [
        (web("nat-masquerade", "192.168.56.130", CLIENT), Some(DIRECTOR)),
        (web("nat-snat", "192.168.56.131", CLIENT), Some("192.168.56.131")),
        (web("nat-port-mapping", "192.168.56.132", CLIENT), None),
    ] {
        shop::serve(scene, example.name, example.service)?;
        asked(scene, &example)?;
        way_out(scene, &example, outside)?;
        shop::close(scene, example.name, &before)?;
    }
    Ok(())
}

/// What a real server starts itself arrives outside with this source, or does not arrive: nobody outside knows a way back.
fn way_out(scene: &Scene, example: &Example, source: Option<&str>) -> Result<()> {
    let answers = traffic::requests(&*scene.host("rs1")?, &format!("http://{CLIENT}"), 2)?;
    let seen: Vec<_> = answers.by_client.keys().map(String::as_str).collect();
    scene.step(&format!(
        "{}: rs1 asks outside: {answers}; outside is seen {}",
        example.name,
        seen.join(", ")
    ));
    ensure!(
        seen == source.into_iter().collect::<Vec<_>>(),
        "seen outside as {seen:?}, not {source:?}"
    );
    Ok(())
}

fn remote(scene: &Scene) -> Result<()> {
    let before = open(scene, &topology::remote("dir1", &REAL_SERVERS))?;
    for example in [
        web("tun", "192.168.56.150", CLIENT),
        web("tun-gue", "192.168.56.151", CLIENT),
        web("fullnat", "192.168.56.160", DIRECTOR),
    ] {
        shop::serve(scene, example.name, example.service)?;
        asked(scene, &example)?;
        shop::close(scene, example.name, &before)?;
    }
    Ok(())
}

fn sctp_and_ipv6(scene: &Scene) -> Result<()> {
    let before = open(scene, &topology::one_lan(&NODES))?;
    let diameter = Example {
        name: "sctp",
        service: "diameter",
        asked: (Transport::Sctp, "192.168.56.121", 3868),
        seen: CLIENT,
    };
    let at = Endpoint::new(Transport::Sctp, "192.168.56.121", 3868)?;
    for (name, _) in REAL_SERVERS {
        scene.keep(traffic::echo(&*scene.host(name)?, &[at])?);
    }
    shop::serve(scene, diameter.name, diameter.service)?;
    asked(scene, &diameter)?;
    shop::close(scene, diameter.name, &before)?;
    shop::serve(scene, "ipv6", "web")?;
    asked(scene, &web("ipv6", "192.168.56.180", CLIENT))?;
    asked(scene, &web("ipv6", "fd56::180", "fd56::200"))?;
    shop::close(scene, "ipv6", &before)
}
