//! Does the agent work as the chart runs it: two capabilities, `/proc/sys` read-only, its sysctls mounted elsewhere? And
//! does it say what is wrong where they are not?

use anyhow::{Context, Result, ensure};
use e2e::cluster::condition_of;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::{oracle, traffic};

use crate::shop::{self, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("confined::the_chart_s_container_is_enough", as_in_the_chart),
    ("confined::f25_without_writable_sysctls_it_says_so", without_sysctls),
];

const VIP: &str = "192.168.56.100";
/// CAP_NET_ADMIN is 12, CAP_NET_RAW 13.
const TWO_CAPABILITIES: &str = "0000000000003000";

fn confined(flags: &[&str]) -> AgentOptions {
    AgentOptions {
        confined: true,
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
    }
}

fn as_in_the_chart(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &confined(&[]))?;
    for (name, _) in NODES {
        confinement(&*scene.host(name)?)?;
    }
    let took = shop::serve(scene, "dr", "web")?;
    let answers = traffic::requests(&*scene.host("client")?, &format!("http://{VIP}/"), 20)?;
    scene.step(&format!("ready after {:.1} s; answers: {answers}", took.as_secs_f64()));
    answers.expect_all()?;
    ensure!((answers.of("rs1"), answers.of("rs2")) == (10, 10), "{answers}");
    let rs1 = scene.host("rs1")?;
    ensure!(oracle::sysctl(&rs1, "net.ipv4.conf.eth0.arp_ignore")? == "1");
    shop::close(scene, "dr", &before)
}

/// That the agents are confined at all, by the kernel's own word about the process.
fn confinement(host: &Host) -> Result<()> {
    let script = format!(
        "p=$(ip netns pids {} | while read p; do [ $(cat /proc/$p/comm) = lvs-agent ] && echo $p; done)
        grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/$p/status; grep ' /proc/sys ' /proc/$p/mountinfo",
        host.name
    );
    let said = host.guest().run(&Program::shell(&script))?.stdout;
    for (name, value) in [
        ("CapEff", TWO_CAPABILITIES),
        ("CapBnd", TWO_CAPABILITIES),
        ("NoNewPrivs", "1"),
    ] {
        ensure!(
            said.contains(&format!("{name}:\t{value}\n")),
            "{}: {name} is not {value}: {said}",
            host.name
        );
    }
    ensure!(
        said.contains("/proc/sys ro"),
        "{}: /proc/sys is not read-only: {said}",
        host.name
    );
    Ok(())
}

/// One host lacks the mount, the other has it read-only, and the director needs neither.
fn without_sysctls(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &confined(&[]))?;
    let missing = "/host/proc/sys/elsewhere";
    for (name, folder) in [("dir1", missing), ("rs1", missing), ("rs2", "/proc/sys/net")] {
        scene.stop_agent(name, e2e::process::Signal::Terminate)?;
        scene.start_agent_again(name, &confined(&[&format!("--proc-sys-net={folder}")]))?;
    }
    scene.apply(&shop::example("dr")?)?;
    for (name, words) in [("rs1", missing), ("rs2", "Read-only file system")] {
        let object = format!("realserver/{name}");
        let unprepared = ("Prepared", "False", "Unprepared");
        let (said, took) = scene
            .control_plane()
            .wait_until_said("shop", &object, unprepared, words)?;
        let message = condition_of(&said, "Prepared").map(|said| said["message"].clone());
        scene.step(&format!(
            "after {:.1} s {name}: {}",
            took.as_secs_f64(),
            message.unwrap_or_default()
        ));
        let holders = oracle::holders(&*scene.host(name)?, VIP)?;
        ensure!(holders.is_empty(), "{name} has the VIP: {holders:?}");
    }
    // Probes by the way of clients' packets need a setting of the director's.
    let refused = ("Programmed", "False", "KernelRefused");
    scene
        .control_plane()
        .wait_until_said("shop", "virtualservice/web", refused, missing)?;
    let table = oracle::ipvs(&*scene.host("dir1")?)?;
    ensure!(table == [format!("-A -t {VIP}:80 -s rr")], "{table:?}");
    for (name, _) in NODES {
        scene.stop_agent(name, e2e::process::Signal::Terminate)?;
        scene.start_agent_again(name, &confined(&[]))?;
    }
    let took = shop::ready(scene, "web").context("after the mounts were corrected")?;
    scene.step(&format!(
        "ready {:.1} s after the mounts were corrected",
        took.as_secs_f64()
    ));
    shop::close(scene, "dr", &before)
}
