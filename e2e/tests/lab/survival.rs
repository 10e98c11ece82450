//! What is programmed serves, whoever of us is dead; and who comes back changes nothing that is right.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::process::Signal;
use e2e::product::{self, AgentOptions};
use e2e::scene::{Scene, Test};
use e2e::topology;
use e2e::traffic::{self, RunningClient};
use e2e::{clock, netlink_capture, oracle};

use crate::drift::rows::WORDS;
use crate::shop::{self, LIMIT, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("survival::of_agents_and_the_api_server", agents_and_api_server),
    ("survival::of_operators", operators),
];

const VIP: &str = "192.168.56.100";
const URL: &str = "http://192.168.56.100";
const PER_SECOND: u32 = 25;
/// The agents that are killed: one of each kind.
const KILLED: [&str; 2] = ["dir1", "rs1"];
const API_AWAY: Duration = Duration::from_secs(30);
const OPERATOR_AWAY: Duration = Duration::from_secs(60);

fn agents_and_api_server(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let running = RunningClient::start(&*scene.host("client")?, URL, PER_SECOND)?;
    restart_quietly(scene, "killed and started again")?;

    let begin = clock::now();
    let control_plane = scene.control_plane();
    control_plane.stop_api_server(Signal::Kill)?;
    restart_quietly(scene, "the same without an API server")?;
    let rs1 = scene.host("rs1")?;
    let lost = format!("{WORDS}; ip address del {VIP}/32 dev lo");
    let found = format!("has /proc/net/fib_trie {VIP}");
    let healed = oracle::healed_after(&rs1, &lost, &found, LIMIT)?;
    scene.step(&format!("a VIP deleted meanwhile: back after {healed:.2?}"));
    // How fast it is where nothing else happens is for the table of drift; no audit is so fast.
    ensure!(
        healed <= Duration::from_secs(2),
        "without an API server it took {healed:?}"
    );
    thread::sleep(API_AWAY.saturating_sub(begin.elapsed()));
    ensure!(
        oracle::ipvs(&*scene.host("dir1")?)?.len() == 3,
        "the table is not whole"
    );
    control_plane.start_api_server()?;
    let away = begin.elapsed();
    shop::patch(scene, "realserver/rs1", r#"{"weight":2}"#)?;
    let heavy = |lines: &[String]| lines.iter().any(|line| line.ends_with("-r 192.168.56.30:80 -g -w 2"));
    let took = shop::table(&*scene.host("dir1")?, "the change has arrived", heavy)?;
    scene.step(&format!(
        "after {away:.1?} without: a change made at once arrives within {took:.1?}"
    ));
    shop::ready(scene, "web")?;
    let answers = running.stop()?;
    scene.step(&format!("the running client: {answers}"));
    answers.expect_all()
}

/// Kills agents and starts them again, and expects that they write nothing to their kernels.
fn restart_quietly(scene: &Scene, what: &str) -> Result<()> {
    let hosts = [scene.host(KILLED[0])?, scene.host(KILLED[1])?];
    let captures = [netlink_capture::start(&hosts[0])?, netlink_capture::start(&hosts[1])?];
    for name in KILLED {
        scene.stop_agent(name, Signal::Kill)?;
    }
    for name in KILLED {
        scene.start_agent_again(name, &AgentOptions::default())?;
    }
    let mut ready = Vec::new();
    for name in KILLED {
        ready.push(shop::agent_ready(scene, name)?);
    }
    // Looks, slices of the audit, and the API server's list, where there is one.
    thread::sleep(Duration::from_secs(4));
    for (name, capture) in KILLED.iter().zip(captures) {
        let writes = capture.stop()?;
        scene.step(&format!("{name} {what}: {writes}"));
        ensure!(writes.total() == 0, "{name} {what}: {writes}");
    }
    scene.step(&format!("ready after {ready:.1?}"));
    Ok(())
}

fn operators(scene: &Scene) -> Result<()> {
    let options = AgentOptions::default();
    let before = shop::open(scene, &topology::one_lan(&NODES), &options)?;
    shop::add_host(scene, "rs3", 50, &options)?;
    shop::serve(scene, "dr", "web")?;
    // One client makes all connections: what it finds at a port of its former ones is for the tests of source ports.
    let director = scene.host("dir1")?;
    shop::set_conn_reuse_mode(&director, 3)?;
    let running = RunningClient::start(&*scene.host("client")?, URL, PER_SECOND)?;
    two_at_once(scene)?;
    killed_in_a_burst(scene)?;
    let answers = running.stop()?;
    scene.step(&format!("the running client: {answers}"));
    answers.expect_all()?;
    away(scene)?;
    scene.delete(&shop::real_server("rs3"))?;
    shop::set_conn_reuse_mode(&director, 1)?;
    shop::close(scene, "dr", &before)
}

fn two_at_once(scene: &Scene) -> Result<()> {
    let second = product::start_operator(scene.control_plane(), "operator-2")?;
    for weight in 2..6 {
        shop::patch(scene, "realserver/rs1", &format!(r#"{{"weight":{weight}}}"#))?;
        shop::patch(scene, "realserver/rs2", &format!(r#"{{"weight":{}}}"#, weight + 1))?;
    }
    scene.apply(&shop::real_server("rs3"))?;
    converged(scene, "two operators at once", &[(30, 5), (40, 6), (50, 1)])?;
    second.stop(Signal::Terminate, LIMIT).map(drop)
}

fn killed_in_a_burst(scene: &Scene) -> Result<()> {
    // Any moment will do; which one it was is said, so that it can be played again.
    let moments = (1..6_u64).map(|round| (clock::unix_seconds() * round * 7919) % 80);
    let moments: Vec<u64> = moments.collect();
    for (round, moment) in (1_u64..).zip(&moments) {
        for (name, weight) in [("rs1", round), ("rs2", round + 1), ("rs3", round + 2)] {
            shop::patch(
                scene,
                &format!("realserver/{name}"),
                &format!(r#"{{"weight":{weight}}}"#),
            )?;
        }
        thread::sleep(Duration::from_millis(*moment));
        scene.stop_operator(Signal::Kill)?;
        scene.start_operator()?;
        thread::sleep(Duration::from_millis(moment * 2));
    }
    converged(
        scene,
        &format!("killed {moments:?} ms after changes"),
        &[(30, 5), (40, 6), (50, 7)],
    )?;
    shop::patch(scene, "realserver/rs3", r#"{"weight":0}"#)?;
    converged(scene, "rs3 quiesced", &[(30, 5), (40, 6), (50, 0)])?;
    scene.delete(&shop::real_server("rs3"))?;
    scene.stop_operator(Signal::Kill)?;
    scene.start_operator()?;
    converged(
        scene,
        "rs3 removed, and the operator killed at once",
        &[(30, 5), (40, 6)],
    )
}

/// A real server comes and a host reboots while nobody places anything.
fn away(scene: &Scene) -> Result<()> {
    let begin = clock::now();
    scene.stop_operator(Signal::Terminate)?;
    scene.apply(&shop::real_server("rs3"))?;
    scene.reboot("rs2")?;
    scene.keep(traffic::nginx(&*scene.host("rs2")?, &[80])?);
    scene.start_agent_again("rs2", &AgentOptions::default())?;
    shop::agent_ready(scene, "rs2")?;
    let back = || Ok(oracle::has_address(&*scene.host("rs2")?, "lo", VIP)?.then_some(()));
    clock::until("rs2 has its VIP back", LIMIT, back)?;
    scene.step(&format!(
        "rs2 is prepared again {:.1?} after the operator ended",
        begin.elapsed()
    ));
    traffic::requests(&*scene.host("client")?, URL, 22)?.expect_all()?;
    thread::sleep(OPERATOR_AWAY.saturating_sub(begin.elapsed()));
    converged(scene, "nothing changed meanwhile", &[(30, 5), (40, 6)])?;
    let away = begin.elapsed();
    scene.start_operator()?;
    converged(
        scene,
        &format!("operator back after {away:.1?}"),
        &[(30, 5), (40, 6), (50, 1)],
    )?;
    shop::ready(scene, "web")?;
    let answers = traffic::requests(&*scene.host("client")?, URL, 24)?;
    scene.step(&format!("answers: {answers}"));
    answers.expect_all()?;
    ensure!(
        ["rs1", "rs2", "rs3"].map(|name| answers.of(name)) == [8; 3],
        "not in turn: {answers}"
    );
    Ok(())
}

/// Waits until the director has these destinations, by the last byte of their address, with these weights.
fn converged(scene: &Scene, what: &str, destinations: &[(u8, u64)]) -> Result<()> {
    let wanted: Vec<_> = destinations
        .iter()
        .map(|(last, weight)| format!("-a -t {VIP}:80 -r 192.168.56.{last}:80 -g -w {weight}"))
        .collect();
    let took = shop::table(&*scene.host("dir1")?, what, |lines| {
        lines.len() == wanted.len() + 1 && wanted.iter().all(|line| lines.contains(line))
    })?;
    scene.step(&format!("{what}: the table is right after {took:.1?}"));
    Ok(())
}
