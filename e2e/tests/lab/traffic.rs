//! Does what is applied with kubectl serve clients, the way it should, and leave nothing behind?

use anyhow::{Result, ensure};
use e2e::capture::Capture;
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::traffic::Answers;
use e2e::{clock, oracle, topology, traffic};

use crate::shop::{self, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("traffic::dr_on_one_lan", dr_on_one_lan),
    ("traffic::dr_behind_a_router", dr_behind_a_router),
    ("traffic::udp", udp),
];

fn dr_on_one_lan(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let vip = "192.168.56.100";
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let capture = Capture::start(&client, "eth0", "arp")?;
    let url = format!("http://{vip}/");
    let begin = clock::now();
    shop::serve(scene, "dr", "web")?;
    traffic::requests(&client, &url, 1)?.expect_all()?;
    scene.step(&format!(
        "first answer {:.2} s after the apply",
        begin.elapsed().as_secs_f64()
    ));
    in_halves(scene, &traffic::requests(&client, &url, 20)?)?;
    let macs = oracle::arp_answers(&client, vip)?;
    ensure!(
        macs == [director.mac()?].into(),
        "ARP for the VIP was answered by {macs:?}"
    );
    let director_mac = director.mac()?;
    let replies = capture.stop()?.lines(&format!("arp[6:2] = 2 and arp src host {vip}"))?;
    ensure!(
        !replies.is_empty() && replies.iter().all(|line| line.contains(&director_mac)),
        "{replies:#?}"
    );
    replies_bypass(scene, &format!("TCP {vip}:80"))?;
    shop::close(scene, "dr", &before)
}

fn dr_behind_a_router(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::routed(&NODES), &AgentOptions::default())?;
    let vip = "192.168.56.110";
    shop::serve(scene, "dr-routed", "web-routed")?;
    let (client, router) = (scene.host("client")?, scene.host("router")?);
    in_halves(scene, &traffic::requests(&client, &format!("http://{vip}/"), 20)?)?;
    let macs = oracle::arp_answers(&router, vip)?;
    ensure!(
        macs == [scene.host("dir1")?.mac()?].into(),
        "ARP for the VIP was answered by {macs:?}"
    );
    replies_bypass(scene, &format!("TCP {vip}:80"))?;
    shop::close(scene, "dr-routed", &before)
}

fn udp(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let vip = "192.168.56.120";
    for name in ["rs1", "rs2"] {
        scene.keep(traffic::udp_server(&*scene.host(name)?, vip, 5353)?);
    }
    shop::serve(scene, "udp", "dns")?;
    in_halves(scene, &traffic::udp_requests(&*scene.host("client")?, vip, 5353, 10)?)?;
    replies_bypass(scene, &format!("UDP {vip}:5353"))?;
    shop::close(scene, "udp", &before)
}

fn in_halves(scene: &Scene, answers: &Answers) -> Result<()> {
    scene.step(&format!("answers: {answers}"));
    answers.expect_all()?;
    ensure!(answers.of("rs1") == answers.of("rs2"), "not in turn: {answers}");
    Ok(())
}

/// What the real servers answer does not pass the director again.
fn replies_bypass(scene: &Scene, service: &str) -> Result<()> {
    let director = scene.host("dir1")?;
    // The kernel adds up what its processors counted every two seconds.
    let counted = || {
        Ok(oracle::counters(&director)?
            .get(service)
            .copied()
            .filter(|c| c.packets_in > 0))
    };
    let (counters, _) = clock::until("the director has counted packets", shop::LIMIT, counted)?;
    ensure!(counters.packets_out == 0, "replies through the director: {counters:?}");
    Ok(())
}
