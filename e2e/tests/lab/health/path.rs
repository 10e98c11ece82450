//! Health checks by the way of clients' packets: a real server that answers at its own address, and not at the VIP.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::capture::{Capture, Packets};
use e2e::process::Signal;
use e2e::product::{self, AgentOptions};
use e2e::scene::Scene;
use e2e::snapshot::Snapshot;
use e2e::topology::{self, Host};
use e2e::{clock, netlink_capture, oracle, traffic};

use super::said;
use crate::shop::{self, Before, LIMIT, NODES};

const VIP: &str = "192.168.56.100";
const VIP6: &str = "fd56::100";
const TUNNEL_VIP: &str = "192.168.56.150";
const ACCEPT_LOCAL: &str = "net.ipv4.conf.eth0.accept_local";
/// Each second, a second at most, one retry a second later: 1 + 1 + 1 × (1 + 1).
const PACE: &str = "intervalSeconds: 1, timeoutSeconds: 1, retries: 1, retryIntervalSeconds: 1";
const BOUND: Duration = Duration::from_secs(4);
/// From the verdict to what ipvsadm shows, on an emulated processor.
const SLACK: Duration = Duration::from_millis(1500);
/// A probe is sent, and once more when nothing came for a second; each time it may come back once. Without a rule against
/// that there would be 63 of each.
const MOST_FRAMES: usize = 4;

/// rs1 and rs2 by this method, with an address of either family or those that are named, and one check.
fn shop_of(method: &str, vips: &str, check: &str, addresses: [&str; 2]) -> String {
    let real_server = |name: &str, addresses: &str| {
        format!(
            "---\napiVersion: lvs-operator.io/v1alpha1\nkind: RealServer\n\
             metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}\n\
             spec: {{nodeName: {name}, addresses: [{addresses}]}}\n"
        )
    };
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n\
         apiVersion: lvs-operator.io/v1alpha1\nkind: DirectorGroup\nmetadata: {{name: default}}\nspec:\n  \
         nodeSelector: {{matchLabels: {{lvs-operator.io/director: 'true'}}}}\n  interface: eth0\n  \
         allowedNamespaces: {{from: All}}\n  allowedCIDRs: [192.168.56.0/24, 'fd56::/64']\n\
         {}{}---\n{}",
        real_server("rs1", addresses[0]),
        real_server("rs2", addresses[1]),
        service(method, vips, check)
    )
}

fn service(method: &str, vips: &str, check: &str) -> String {
    format!(
        "apiVersion: lvs-operator.io/v1alpha1\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         addresses: [{vips}]\n  ports: [{{port: 80}}]\n  scheduler: rr\n  forwardingMethod: {method}\n  \
         healthChecks: [{{{check}, {PACE}}}]\n  realServerSelector: {{matchLabels: {{app: web}}}}\n"
    )
}

/// What an agent adds carries this; without it, it would be the host's own, and no VIP.
const OURS: &str = "proto 77";
const BOTH_VIPS: &str = "{address: 192.168.56.100}, {address: 'fd56::100'}";

pub(super) fn direct(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let addresses = ["192.168.56.30, 'fd56::30'", "192.168.56.40, 'fd56::40'"];
    scene.apply(&shop_of("DR", BOTH_VIPS, "http: {}", addresses))?;
    shop::ready(scene, "web")?;
    let director = scene.host("dir1")?;
    shop::table(&director, "both serve both VIPs", |lines| lines.len() == 6)?;
    let steers = oracle::probe_services(&director)?;
    scene.step(&format!("probes go by {}", steers.join("; ")));
    ensure!(steers.len() == 8, "not two real servers in two families: {steers:#?}");
    ensure!(
        oracle::sysctl(&director, ACCEPT_LOCAL)? == "1",
        "{ACCEPT_LOCAL} is not 1"
    );
    flushed(scene, &director)?;
    restarted_quietly(scene, &director)?;

    let rs1 = scene.host("rs1")?;
    scene.stop_agent("rs1", Signal::Kill)?;
    rs1.run("sysctl -qw net.ipv4.ip_forward=1")?;
    lost(scene, &director, &rs1)?;
    let back = format!("ip address add {VIP}/32 dev lo scope host {OURS}");
    found_again(scene, &director, &rs1, &back, VIP)?;
    by_its_own_address(scene, &director, &rs1)?;
    let lost6 = format!("ip -6 address del {VIP6}/128 dev lo");
    scene.apply(&service("DR", BOTH_VIPS, "http: {}"))?;
    // The bound is that of a probe, and begins when there are any.
    let steered = || {
        let is_ready = oracle::probe_services(&director)?.len() == 8 && oracle::sysctl(&director, ACCEPT_LOCAL)? == "1";
        Ok(is_ready.then_some(()))
    };
    clock::until("probes go by the path again", shop::LIMIT, steered)?;
    out(scene, &director, &rs1, &lost6, VIP6)?;
    scene.start_agent_again("rs1", &AgentOptions::default())?;
    in_both(&director)?;
    cleaned(scene, &director, &before)
}

fn in_both(director: &Host) -> Result<()> {
    shop::table(director, "rs1 is in for both VIPs", |lines| lines.len() == 6).map(drop)
}

/// The destination lines of a real server under a VIP.
fn serves(lines: &[String], vip: &str, last: &str) -> bool {
    let of_vip = |line: &&String| line.starts_with("-a ") && line.contains(vip);
    lines
        .iter()
        .filter(of_vip)
        .any(|line| line.contains(&format!(".{last}:")) || line.contains(&format!("::{last}]:")))
}

/// Takes a VIP from rs1, and waits until rs1 is out of that VIP's service alone.
fn out(scene: &Scene, director: &Host, rs1: &Host, how: &str, vip: &str) -> Result<()> {
    let begin = clock::now();
    rs1.shell(how)?;
    shop::table(director, "rs1 is out", |lines| !serves(lines, vip, "30"))?;
    let took = begin.elapsed();
    let lines = oracle::ipvs(director)?;
    scene.step(&format!("{vip} taken from rs1: out after {took:.1?}"));
    ensure!(took <= BOUND + SLACK, "found after {took:?}, not within {BOUND:?}");
    for other in [VIP, VIP6, TUNNEL_VIP] {
        let is_served = lines.iter().any(|line| line.starts_with("-A ") && line.contains(other));
        ensure!(
            !is_served || other == vip || serves(&lines, other, "30"),
            "{other} lost it, too: {lines:#?}"
        );
    }
    ensure!(serves(&lines, vip, "40"), "rs2 is out, too: {lines:#?}");
    Ok(())
}

fn lost(scene: &Scene, director: &Host, rs1: &Host) -> Result<()> {
    let probes = format!("tcp and src host 192.168.56.10 and dst host {VIP}");
    let capture = Capture::start(director, "eth0", &probes)?;
    out(scene, director, rs1, &format!("ip address del {VIP}/32 dev lo"), VIP)?;
    let own = traffic::requests(director, "http://192.168.56.30", 2)?;
    own.expect_all()?;
    let said = said(scene, "Healthy", "False", VIP)?;
    scene.step(&format!("it answers at its own address; Healthy=False: {said}"));
    let words = format!("192.168.56.30 by DR: no connection to {VIP}:80 within 1 s");
    ensure!(said.contains(&words), "{said}");
    thread::sleep(Duration::from_secs(2));
    sent_back_once(scene, rs1, &capture.stop()?)
}

/// How often each probe was seen on the director's link, by its port: out, and back from the host that forwards.
fn sent_back_once(scene: &Scene, rs1: &Host, packets: &Packets<'_>) -> Result<()> {
    let mac = rs1.mac()?;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut back = 0;
    for line in packets.lines("tcp[tcpflags] == tcp-syn")? {
        let words: Vec<&str> = line.split_whitespace().collect();
        back += usize::from(words.get(1) == Some(&mac.as_str()));
        let port = words.iter().find(|word| word.starts_with("192.168.56.10."));
        *seen.entry((*port.context("no port")?).to_owned()).or_default() += 1;
    }
    let most = seen.values().copied().max().unwrap_or_default();
    scene.step(&format!(
        "{} probes; each was seen {most} times at most; {back} came back from rs1",
        seen.len()
    ));
    ensure!(back > 0, "none came back: nothing was tried");
    ensure!(most <= MOST_FRAMES, "{seen:?}");
    Ok(())
}

fn found_again(scene: &Scene, director: &Host, rs1: &Host, how: &str, vip: &str) -> Result<()> {
    let begin = clock::now();
    rs1.shell(how)?;
    shop::table(director, "rs1 is in", |lines| serves(lines, vip, "30"))?;
    scene.step(&format!("{vip} is back: in after {:.1?}", begin.elapsed()));
    said(scene, "Healthy", "True", "passes").map(drop)
}

/// Who asks the real server's own address does not notice.
fn by_its_own_address(scene: &Scene, director: &Host, rs1: &Host) -> Result<()> {
    scene.apply(&service("DR", BOTH_VIPS, "http: {}, through: RealServerAddress"))?;
    let gone = || Ok(oracle::probe_services(director)?.is_empty().then_some(()));
    clock::until("nothing steers probes any more", LIMIT, gone)?;
    in_both(director)?;
    // The same pass's, but after the services.
    let given_back = || Ok((oracle::sysctl(director, ACCEPT_LOCAL)? == "0").then_some(()));
    clock::until(&format!("{ACCEPT_LOCAL} is given back"), LIMIT, given_back)?;
    rs1.run(&format!("ip address del {VIP}/32 dev lo"))?;
    thread::sleep(BOUND + SLACK);
    let lines = oracle::ipvs(director)?;
    ensure!(lines.len() == 6, "noticed: {lines:#?}");
    scene.step("through RealServerAddress: nobody notices");
    rs1.run(&format!("ip address add {VIP}/32 dev lo scope host {OURS}"))?;
    Ok(())
}

/// Probes of the moment in which their services are gone fail; it must not be the real servers' fault.
fn flushed(scene: &Scene, director: &Host) -> Result<()> {
    let before = downs(director)?;
    for _ in 0..3 {
        director.run("ipvsadm -C")?;
        in_both(director)?;
        thread::sleep(BOUND);
        in_both(director)?;
    }
    let after = downs(director)?;
    scene.step(&format!(
        "flushed three times: {after} verdicts turned to down, {before} before"
    ));
    ensure!(before == after, "a flush took a real server out");
    Ok(())
}

/// How often anything went down.
fn downs(director: &Host) -> Result<String> {
    let metrics = director.run("curl -sS http://127.0.0.1:9479/metrics")?;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("lvs_agent_healthcheck_transitions_total{verdict=\"down\"}"));
    Ok(line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0").to_owned())
}

fn restarted_quietly(scene: &Scene, director: &Host) -> Result<()> {
    let capture = netlink_capture::start(director)?;
    scene.stop_agent("dir1", Signal::Kill)?;
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    shop::agent_ready(scene, "dir1")?;
    thread::sleep(BOUND);
    let writes = capture.stop()?;
    scene.step(&format!("the agent killed and started again: {writes}"));
    ensure!(writes.total() == 0, "{writes}");
    Ok(())
}

fn cleaned(scene: &Scene, director: &Host, before: &Before) -> Result<()> {
    scene.stop_agent("dir1", Signal::Terminate)?;
    let cleanup = director.attempt(product::agent_program(director, &AgentOptions::default(), &["cleanup"]))?;
    scene.step(&format!("cleanup:\n{}", cleanup.stdout.trim()));
    ensure!(cleanup.status == 0, "{cleanup:?}");
    ensure!(
        cleanup.stdout.contains(&format!("sysctl -w {ACCEPT_LOCAL}=0")),
        "{ACCEPT_LOCAL} is not given back"
    );
    let (_, fresh) = before.iter().find(|(of, _)| *of == "dir1").context("no snapshot")?;
    fresh.diff(&Snapshot::of(director)?).expect_empty("dir1")
}

/// Real servers behind a router, with the VIP on the device that unwraps.
pub(super) fn tunnelled(scene: &Scene) -> Result<()> {
    let hosts = [("rs1", 30), ("rs2", 40)];
    shop::open(scene, &topology::remote("dir1", &hosts), &AgentOptions::default())?;
    let vip = format!("{{address: {TUNNEL_VIP}}}");
    scene.apply(&shop_of("TUN", &vip, "tcp: {}", ["10.0.1.30", "10.0.1.40"]))?;
    shop::ready(scene, "web")?;
    let (director, rs1) = (scene.host("dir1")?, scene.host("rs1")?);
    shop::table(&director, "both serve", |lines| lines.len() == 3)?;
    let steers = oracle::probe_services(&director)?;
    scene.step(&format!("probes go by {}", steers.join("; ")));
    ensure!(steers.len() == 4, "{steers:#?}");
    scene.stop_agent("rs1", Signal::Kill)?;
    rs1.run("sysctl -qw net.ipv4.ip_forward=1")?;
    let on_device = "for device in /proc/sys/net/ipv4/conf/lvs-ipip-*; do ip address VERB 192.168.56.150/32 dev ${device##*/} proto 77; done";
    out(scene, &director, &rs1, &on_device.replace("VERB", "del"), TUNNEL_VIP)?;
    let said = said(scene, "Healthy", "False", TUNNEL_VIP)?;
    ensure!(said.contains("10.0.1.30 by TUN: no connection to"), "{said}");
    scene.step(&format!("Healthy=False: {said}"));
    found_again(scene, &director, &rs1, &on_device.replace("VERB", "add"), TUNNEL_VIP)?;
    let answers = traffic::requests(&*scene.host("client")?, &format!("http://{TUNNEL_VIP}"), 10)?;
    scene.step(&format!("answers: {answers}"));
    answers.expect_all()
}
