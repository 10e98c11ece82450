//! A node loses everything but its disk: what happens until its agent starts, and after?

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::Capture;
use e2e::netlink_capture::{self, Write};
use e2e::process::Signal;
use e2e::product::{AgentOptions, agent_program};
use e2e::program::{Output, Program};
use e2e::scene::{Scene, Test};
use e2e::snapshot::Snapshot;
use e2e::topology::{self, Host, HostPlan, LAN};
use e2e::traffic::{self, RunningClient};
use e2e::{clock, oracle};

use crate::shop::{self, LIMIT, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("reboot::of_a_real_server", real_server),
    ("reboot::of_a_director", director),
    ("reboot::plan_and_cleanup", plan_and_cleanup),
];

const VIP: &str = "192.168.56.100";
const URL: &str = "http://192.168.56.100";

fn real_server(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let client = scene.host("client")?;
    in_halves(scene, &client)?;
    scene.reboot("rs1")?;
    let rs1 = scene.host("rs1")?;
    scene.keep(traffic::nginx(&rs1, &[80])?);
    scene.step(&format!(
        "one SYN for a host without VIP: {} packets at the director",
        packets_of_a_syn(scene)?
    ));
    rs1.run("sysctl -qw net.ipv4.ip_forward=1")?;
    let packets = packets_of_a_syn(scene)?;
    scene.step(&format!(
        "and when that host forwards: {packets} packets at the director"
    ));
    ensure!(packets > 20, "no loop: {packets} packets");
    rs1.run("sysctl -qw net.ipv4.ip_forward=0")?;
    back_in_service(scene)?;
    in_halves(scene, &client)?;
    shop::close(scene, "dr", &before)
}

/// Two requests, one for each real server, of which only the one for rs2 is answered. Says how many packets the other
/// one's SYN became.
fn packets_of_a_syn(scene: &Scene) -> Result<usize> {
    let (client, dir1) = (scene.host("client")?, scene.host("dir1")?);
    let capture = Capture::start(&dir1, "eth0", &format!("tcp and dst host {VIP}"))?;
    // Given up before TCP sends a second one. Each address has its `-o`: which of the two is answered nobody knows.
    let ask = format!(
        "curl -s -o /dev/null -o /dev/null --max-time 0.8 -w %{{local_port}}/%{{http_code}}\\n {URL} {URL}/again"
    );
    let output = client.attempt(Program::line(&ask))?.stdout;
    let packets = capture.stop()?;
    let failed: Vec<_> = output.lines().filter(|line| !line.ends_with("/200")).collect();
    ensure!(failed.len() == 1, "one of two should fail: {output}");
    // curl names no port of a connection that did not come about: it is the one that says nothing but SYN.
    let all = packets.lines("tcp[13] == 2")?;
    let spoke = packets.lines("tcp[13] != 2")?;
    let port = |line: &str| {
        line.split(" > ")
            .find_map(|part| Some(part.rsplit_once("192.168.56.200.")?.1.to_owned()))
    };
    let answered: Vec<_> = spoke.iter().filter_map(|line| port(line)).collect();
    Ok(all
        .iter()
        .filter(|line| port(line).is_some_and(|port| !answered.contains(&port)))
        .count())
}

/// The agent starts: its new boot takes the host out of the table, or has it proven again, before more is sent there.
fn back_in_service(scene: &Scene) -> Result<()> {
    let (client, dir1, rs1) = (scene.host("client")?, scene.host("dir1")?, scene.host("rs1")?);
    let answers = traffic::requests(&client, URL, 2)?;
    scene.step(&format!("2 requests before the agent starts: {answers}"));
    let captures = (netlink_capture::start(&dir1)?, netlink_capture::start(&rs1)?);
    let running = RunningClient::start(&client, URL, 25)?;
    let before = running.answers()?.failed.len();
    scene.start_agent_again("rs1", &AgentOptions::default())?;
    let started = shop::agent_ready(scene, "rs1")?;
    shop::ready(scene, "web")?;
    thread::sleep(Duration::from_secs(3));
    let (director, host) = (captures.0.stop_with_times()?, captures.1.stop_with_times()?);
    let answers = running.stop()?;
    scene.step(&format!(
        "ready {started:.1?} after the start; a client meanwhile: {answers}"
    ));
    let (out, prepared, back) = (
        at(&director, "DEL_DEST"),
        at(&host, "NEWADDR"),
        at(&director, "NEW_DEST"),
    );
    let prepared = prepared.context("the host never got its VIP")?;
    let relative = |time: Option<Duration>| time.map(|time| time.as_secs_f64() - prepared.as_secs_f64());
    scene.step(&format!(
        "seconds from the host's VIP: out of the table {:.3?}, back {:.3?}",
        relative(out),
        relative(back)
    ));
    // The client asks one after the other: more than one failure means that packets were sent there still.
    ensure!(answers.failed.len() - before <= 1, "{before} before; {answers}");
    ensure!(
        back.is_none_or(|back| prepared < back),
        "back in the table before it was prepared"
    );
    Ok(())
}

fn at(writes: &[Write], what: &str) -> Option<Duration> {
    writes
        .iter()
        .find(|write| write.name.ends_with(what))
        .map(|write| write.at)
}

fn director(scene: &Scene) -> Result<()> {
    let mut plans = topology::one_lan(&NODES);
    plans.push(HostPlan::outsider("other", LAN, 66));
    shop::open(scene, &plans, &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let (client, other) = (scene.host("client")?, scene.host("other")?);
    restarted(scene, "with an API server")?;

    scene.control_plane().stop_api_server(Signal::Kill)?;
    let capture = Capture::start(&client, "eth0", &format!("arp host {VIP}"))?;
    restarted(scene, "from disk")?;
    let packets = capture.stop()?;
    let (probes, announcements) = (
        packets.lines("arp[14:4] = 0")?,
        packets.lines(&format!("arp src host {VIP} and arp dst host {VIP}"))?,
    );
    scene.step(&format!(
        "ARP: {} probes, {} announcements",
        probes.len(),
        announcements.len()
    ));
    ensure!(
        probes.len() >= 3 && !announcements.is_empty(),
        "{probes:#?} {announcements:#?}"
    );

    other.run(&format!("ip address add {VIP}/32 dev eth0"))?;
    scene.reboot("dir1")?;
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    shop::agent_ready(scene, "dir1")?;
    thread::sleep(Duration::from_secs(4));
    let dir1 = scene.host("dir1")?;
    let table = oracle::ipvs(&dir1)?;
    ensure!(!oracle::has_address(&dir1, "eth0", VIP)?, "two hosts have the VIP");
    scene.step(&format!(
        "somebody else has the VIP: dir1 does not take it; {} lines in its table",
        table.len()
    ));
    other.run(&format!("ip address del {VIP}/32 dev eth0"))?;
    let taken = || Ok(oracle::has_address(&dir1, "eth0", VIP)?.then_some(()));
    let ((), took) = clock::until("dir1 takes the VIP", LIMIT, taken)?;
    scene.step(&format!("taken {took:.1?} after it was free"));
    in_halves(scene, &client)?;
    scene.control_plane().start_api_server()?;
    shop::ready(scene, "web").map(drop)
}

/// Reboots the director, and waits until clients are answered.
fn restarted(scene: &Scene, how: &str) -> Result<()> {
    let client = scene.host("client")?;
    scene.reboot("dir1")?;
    let away = traffic::requests(&client, URL, 1)?;
    ensure!(away.failed.len() == 1, "answered by nobody: {away}");
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    let begin = clock::now();
    let answered = || Ok(traffic::requests(&client, URL, 1)?.failed.is_empty().then_some(()));
    clock::until("the VIP answers again", LIMIT, answered)?;
    scene.step(&format!(
        "director rebooted, {how}: answers {:.1?} after its agent's start",
        begin.elapsed()
    ));
    // Each real server serves from its own first probe on.
    shop::table(&*scene.host("dir1")?, "both serve", |lines| lines.len() == 3)?;
    in_halves(scene, &client)
}

fn in_halves(scene: &Scene, client: &Host) -> Result<()> {
    let answers = traffic::requests(client, URL, 20)?;
    scene.step(&format!("answers: {answers}"));
    answers.expect_all()?;
    ensure!(answers.of("rs1") == answers.of("rs2"), "not in turn: {answers}");
    Ok(())
}

fn plan_and_cleanup(scene: &Scene) -> Result<()> {
    let options = AgentOptions::default();
    let before = shop::open(scene, &topology::one_lan(&NODES), &options)?;
    shop::serve(scene, "dr", "web")?;
    for (name, disturb, line) in [
        (
            "dir1",
            "ipvsadm -d -t 192.168.56.100:80 -r 192.168.56.30:80",
            "ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.30:80 -g -w 1\n",
        ),
        (
            "rs1",
            "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0",
            "sysctl -w net.ipv4.conf.eth0.arp_ignore=1\n",
        ),
    ] {
        let host = scene.host(name)?;
        ensure!(
            by_hand(&host, &["plan"])?.stdout.is_empty(),
            "a plan where nothing is to do"
        );
        let refused = by_hand(&host, &["cleanup"])?;
        ensure!(
            refused.status != 0 && refused.stderr.contains("stop it first"),
            "{refused:?}"
        );
        scene.stop_agent(name, Signal::Terminate)?;
        host.run(disturb)?;
        let plan = by_hand(&host, &["plan"])?.stdout;
        ensure!(plan == line, "the plan after `{disturb}`: {plan}");
        let dry = by_hand(&host, &["cleanup", "--dry-run"])?;
        ensure!(by_hand(&host, &["plan"])?.stdout == line, "a dry run changed something");
        let cleanup = by_hand(&host, &["cleanup"])?;
        ensure!(
            cleanup.status == 0 && cleanup.stdout == dry.stdout,
            "{cleanup:?} after {dry:?}"
        );
        scene.step(&format!("cleanup of {name}:\n{}", cleanup.stdout.trim()));
        let (_, fresh) = before.iter().find(|(of, _)| *of == name).context("no snapshot")?;
        fresh.diff(&Snapshot::of(&host)?).expect_empty(name)?;
    }
    // A cleaned node is a node like any other.
    for name in ["rs1", "dir1"] {
        scene.start_agent_again(name, &options)?;
    }
    let whole = |lines: &[String]| lines.len() == 3;
    let took = shop::table(&*scene.host("dir1")?, "all is back", whole)?;
    scene.step(&format!("agents started again: the table is whole after {took:.1?}"));
    shop::ready(scene, "web")?;
    in_halves(scene, &*scene.host("client")?)?;
    shop::close(scene, "dr", &before)
}

/// The agent's program as an administrator runs it.
fn by_hand(host: &Host, words: &[&str]) -> Result<Output> {
    host.attempt(agent_program(host, &AgentOptions::default(), words))
}
