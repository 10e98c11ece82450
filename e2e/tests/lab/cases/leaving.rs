//! A deleted service, under load: in which order do the hosts let go of its VIP?

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::Capture;
use e2e::netlink_capture::{self, Write};
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::Scene;
use e2e::topology::{self, Host, HostPlan};
use e2e::traffic::RunningClient;

use crate::shop::{self, NODES};

const VIP: &str = "192.168.56.100";
const HOSTS: [&str; 3] = ["dir1", "rs1", "rs2"];
const PER_SECOND: u32 = 50;

pub(super) fn deleted(scene: &Scene) -> Result<()> {
    // As nodes of a cluster do: a real server without the VIP would send its packets on, again and again.
    let forwards = |plan: HostPlan| HostPlan {
        forwards: plan.management,
        ..plan
    };
    let plans: Vec<_> = topology::one_lan(&NODES).into_iter().map(forwards).collect();
    shop::open(scene, &plans, &AgentOptions::default())?;
    shop::serve(scene, "dr", "web")?;
    let running = RunningClient::start(&*scene.host("client")?, &format!("http://{VIP}"), PER_SECOND)?;
    let hosts: Vec<_> = HOSTS.iter().map(|name| scene.host(name)).collect::<Result<_>>()?;
    let captures: Vec<_> = hosts
        .iter()
        .map(|host| netlink_capture::start(host))
        .collect::<Result<_>>()?;
    let to_vip = format!("dst host {VIP} and tcp");
    let arrivals: Vec<_> = hosts[1..]
        .iter()
        .map(|host| Capture::start(host, "eth0", &to_vip))
        .collect::<Result<_>>()?;
    scene
        .control_plane()
        .kubectl(&["-n", "shop", "delete", "virtualservice/web"], None)?;
    shop::services_gone(scene)?;
    thread::sleep(Duration::from_millis(500));
    let writes: Vec<Vec<Write>> = captures
        .into_iter()
        .map(|c| c.stop_with_times())
        .collect::<Result<_>>()?;
    let down = time_of(&writes[0], "route DELADDR")?;
    let unprogrammed = time_of(&writes[0], "ipvs DEL_SERVICE")?;
    ensure!(down < unprogrammed, "case 2: the service went before its VIP");
    for ((host, arrivals), writes) in hosts[1..].iter().zip(arrivals).zip(&writes[1..]) {
        let released = time_of(writes, "route DELADDR")?;
        ensure!(
            unprogrammed < released,
            "case 2: {} let go before the director",
            host.name
        );
        let frames = arrivals.stop()?.lines("")?;
        let own = host.mac()?;
        let sent_on = frames
            .iter()
            .filter(|frame| frame.split(' ').nth(1) == Some(own.as_str()))
            .count();
        let last = frames.iter().filter_map(|frame| time(frame)).fold(0.0, f64::max);
        scene.step(&format!(
            "case 2: {}: {} packets to the VIP, the last {:.3} s before it let go; {sent_on} sent on",
            host.name,
            frames.len(),
            released.as_secs_f64() - last
        ));
        ensure!(
            !frames.is_empty() && last < released.as_secs_f64(),
            "case 2: packets for a VIP that was gone"
        );
        ensure!(sent_on == 0, "case 2: {sent_on} packets sent on");
    }
    served_until(scene, running, &hosts[0], down)
}

fn time_of(writes: &[Write], name: &str) -> Result<Duration> {
    let mut found = writes.iter().filter(|write| write.name == name).map(|write| write.at);
    found.next().with_context(|| format!("nobody wrote {name}"))
}

/// The first word of a line of tcpdump.
fn time(frame: &str) -> Option<f64> {
    frame.split(' ').next()?.parse().ok()
}

/// No request failed while the director had the VIP.
fn served_until(scene: &Scene, running: RunningClient, director: &Host, down: Duration) -> Result<()> {
    // The two clocks of a guest: that of its logs, since the boot, and that of tcpdump.
    let clocks = "read up rest < /proc/uptime; echo $EPOCHREALTIME $up";
    let clocks = director.program(Program::new(["bash", "-c", clocks]))?.stdout;
    let mut clocks = clocks.split_whitespace().map(str::parse::<f64>);
    let (now, up) = clocks.next().zip(clocks.next()).context("two clocks")?;
    let booted = now? - up?;
    let answers = running.stop()?;
    let early = answers.failed.iter().filter(|failure| {
        let seconds = Duration::from_millis(failure.clock_milliseconds).as_secs_f64();
        booted + seconds < down.as_secs_f64() - 0.05
    });
    let early = early.count();
    scene.step(&format!(
        "case 2: the running client: {early} failed while the VIP was there; {} answered",
        answers.order.len()
    ));
    ensure!(early == 0 && !answers.order.is_empty(), "case 2: {answers}");
    Ok(())
}
