//! Health checks: real servers that fail in many ways, and come back; judged by clients, `ipvsadm` and `kubectl`.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::condition_of;
use e2e::endpoint::{Endpoint, Transport};
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::traffic::{self, Answers, RunningClient};
use e2e::{clock, netlink_capture, oracle};
use serde_json::Value;

use crate::shop::{self, LIMIT, NODES, PORTS};

#[path = "health/each_by_path.rs"]
mod each_by_path;
#[path = "health/keepalived.rs"]
mod keepalived;
#[path = "health/path.rs"]
mod path;
#[path = "health/probes.rs"]
mod probes;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("health::f1_f2_f37_failures_are_found_and_ended", failures),
    ("health::of_one_port_and_of_an_answer", ports),
    ("health::each_probe_fails_and_passes", probes::each_fails_and_passes),
    ("health::a_vip_that_a_host_lost_is_found_out", path::direct),
    ("health::a_tunnel_that_a_host_lost_is_found_out", path::tunnelled),
    ("health::each_probe_goes_by_the_forwarding_path", each_by_path::all),
    ("health::beside_keepalived", keepalived::side_by_side),
];

const VIP: &str = "192.168.56.100";
const URL: &str = "http://192.168.56.100";
/// Asks when it is over. Of the client that ran meanwhile IPVS knows handshakes that never ended, which no mode schedules anew:
/// it may meet one of these ports again.
const OTHER_CLIENT: &str = "192.168.56.201";
const PER_SECOND: u32 = 50;
/// As in the example: each second, a second at most, one retry a second later: 1 + 1 + 1 × (1 + 1).
const PACE: &str = "intervalSeconds: 1, timeoutSeconds: 1, retries: 1, retryIntervalSeconds: 1";
const BOUND: Duration = Duration::from_secs(4);
/// From the verdict to the client's eye, on an emulated processor.
const SLACK: Duration = Duration::from_millis(1500);

/// The shop's web service, with these checks.
fn shop_of(checks: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n\
         apiVersion: lvs-operator.io/v1alpha1\nkind: DirectorGroup\nmetadata: {{name: default}}\nspec:\n  \
         nodeSelector: {{matchLabels: {{lvs-operator.io/director: 'true'}}}}\n  interface: eth0\n  \
         allowedNamespaces: {{from: All}}\n  allowedCIDRs: [192.168.56.0/24]\n---\n\
         {}---\n{}---\n{}",
        shop::real_server("rs1"),
        shop::real_server("rs2"),
        service("[80]", checks)
    )
}

fn service(ports: &str, checks: &str) -> String {
    let ports = ports
        .replace('[', "[{port: ")
        .replace(", ", "}, {port: ")
        .replace(']', "}]");
    format!(
        "apiVersion: lvs-operator.io/v1alpha1\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         addresses: [{{address: {VIP}}}]\n  ports: {ports}\n  scheduler: rr\n  healthChecks: {checks}\n  \
         realServerSelector: {{matchLabels: {{app: web}}}}\n"
    )
}

fn failures(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    shop::serve(scene, "health", "web")?;
    let rs1 = scene.host("rs1")?;
    // A client that uses a port again would follow it to its old real server for two minutes; one that is out of the table
    // gets nothing from there any more.
    shop::set_conn_reuse_mode(&*scene.host("dir1")?, 3)?;
    scene
        .host("client")?
        .run(&format!("ip address add {OTHER_CLIENT}/24 dev eth0"))?;

    let refused = "192.168.56.30 by DR: connect to 192.168.56.100:80: connection refused, 2 of 2";
    fails(scene, "nginx stopped", &rs1, "kill $(cat /run/nginx-rs1/pid)", refused)?;
    recovers(scene, "nginx started", || {
        scene.keep(traffic::nginx(&rs1, &PORTS)?);
        Ok(())
    })?;

    fails(
        scene,
        "nginx stands still",
        &rs1,
        "kill -STOP $(cat /run/nginx-rs1/pid) $(pgrep -P $(cat /run/nginx-rs1/pid))",
        "within 1 s",
    )?;
    recovers(scene, "it goes on", || {
        rs1.shell("kill -CONT $(cat /run/nginx-rs1/pid) $(pgrep -P $(cat /run/nginx-rs1/pid))")
            .map(drop)
    })?;

    scene.control_plane().stop_api_server(Signal::Kill)?;
    fails_unsaid(
        scene,
        "the link is cut, without an API server",
        &rs1,
        "ip link set eth0 down",
    )?;
    restarted_quietly(scene)?;
    scene.control_plane().start_api_server()?;
    said(scene, "Healthy", "False", "192.168.56.30")?;
    recovers(scene, "the link is back", || rs1.shell("ip link set eth0 up").map(drop))
}

/// What makes rs1 fail while a client runs: rs2 alone answers within the bound, one message to the kernel, and the words.
fn fails(scene: &Scene, what: &str, rs1: &Host, how: &str, words: &str) -> Result<()> {
    let message = fails_unsaid(scene, what, rs1, how).and_then(|()| said(scene, "Healthy", "False", words))?;
    scene.step(&format!("{what}: {message}"));
    Ok(())
}

fn fails_unsaid(scene: &Scene, what: &str, rs1: &Host, how: &str) -> Result<()> {
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let running = RunningClient::start(&client, URL, PER_SECOND)?;
    thread::sleep(Duration::from_secs(1));
    let begin = clock::now();
    rs1.shell(how)?;
    shop::table(&director, "rs1 is out", |lines| {
        !lines.iter().any(|line| line.contains("192.168.56.30"))
    })?;
    let took = begin.elapsed();
    let after = asked_by_another(&client)?;
    let answers = running.stop()?;
    scene.step(&format!(
        "{what}: rs1 is out after {took:.1?}; then {after}; the running client: {answers}"
    ));
    ensure!(
        took <= BOUND + SLACK,
        "{what}: found after {took:?}, not within {BOUND:?}"
    );
    after.expect_all()?;
    ensure!(after.of("rs2") == 20, "{what}: {after}");
    // Half of what is sent until then goes to a server that does not answer.
    let most = (took + SLACK).as_secs_f64() * f64::from(PER_SECOND) / 2.0 + 10.0;
    ensure!(
        f64::from(u32::try_from(answers.failed.len())?) <= most,
        "{what}: {answers}"
    );
    Ok(())
}

fn asked_by_another(client: &Host) -> Result<Answers> {
    let web = Endpoint::new(Transport::Tcp, VIP, 80)?;
    let mut answers = traffic::ask_from(client, &[OTHER_CLIENT.to_owned()], &[(web, 20)])?;
    answers.remove(&web).context("no answers")
}

/// What makes rs1 serve again: one message to the kernel, both answer, and say so.
fn recovers(scene: &Scene, what: &str, how: impl Fn() -> Result<()>) -> Result<()> {
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let capture = netlink_capture::start(&director)?;
    let begin = clock::now();
    how()?;
    shop::table(&director, "rs1 is in", |lines| {
        lines.iter().any(|line| line.contains("-r 192.168.56.30:80"))
    })?;
    let took = begin.elapsed();
    let after = asked_by_another(&client)?;
    let writes = capture.stop()?;
    let order = after.order.join(" ");
    scene.step(&format!(
        "{what}: rs1 is in after {took:.1?} by {writes}; then {after}: {order}"
    ));
    ensure!(writes.total() == 1, "{what}: more than one message: {writes}");
    after.expect_all()?;
    ensure!(
        (after.of("rs1"), after.of("rs2")) == (10, 10),
        "{what}: {after}: {order}"
    );
    said(scene, "Healthy", "True", "passes")?;
    shop::ready(scene, "web").map(drop)
}

/// A verdict outlives the agent, and nothing is written because it came back.
fn restarted_quietly(scene: &Scene) -> Result<()> {
    let director = scene.host("dir1")?;
    let before = oracle::ipvs(&director)?;
    let capture = netlink_capture::start(&director)?;
    scene.stop_agent("dir1", Signal::Kill)?;
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    shop::agent_ready(scene, "dir1")?;
    thread::sleep(Duration::from_secs(3));
    let writes = capture.stop()?;
    scene.step(&format!("f37: the agent killed and started again meanwhile: {writes}"));
    ensure!(
        oracle::ipvs(&director)? == before,
        "f37: another table after the restart"
    );
    ensure!(writes.total() == 0, "f37: {writes}");
    Ok(())
}

/// Waits for a condition of rs1, and gives its message.
fn said(scene: &Scene, type_: &str, status: &str, words: &str) -> Result<String> {
    let what = format!("rs1 has {type_}={status}: …{words}…");
    let is_so = |object: &Value| {
        condition_of(object, type_).is_some_and(|said| said["status"] == status && said.to_string().contains(words))
    };
    let plane = scene.control_plane();
    let (object, _) = plane.wait_for(&what, LIMIT, &["-n", "shop", "realserver/rs1"], is_so)?;
    let message = condition_of(&object, type_).and_then(|said| said["message"].as_str());
    Ok(message.unwrap_or_default().to_owned())
}

/// A port that fails takes out that port; a named port, all of them.
fn ports(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    scene.apply(&shop_of("[{none: {}}]"))?;
    shop::ready(scene, "web")?;
    let (rs1, director) = (scene.host("rs1")?, scene.host("dir1")?);
    let has = |line: &'static str| move |lines: &[String]| lines.iter().any(|there| there.contains(line));
    let hasnt = |line: &'static str| move |lines: &[String]| !lines.iter().any(|there| there.contains(line));

    scene.apply(&service("[80, 8080]", &format!("[{{tcp: {{}}, {PACE}}}]")))?;
    shop::table(&director, "both ports of both serve", |lines| lines.len() == 6)?;
    rs1.shell("nft 'add table inet shut { chain input { type filter hook input priority 0; tcp dport 8080 reject with tcp reset; }; }'")?;
    let took = shop::table(&director, "rs1 is out on 8080", hasnt("-r 192.168.56.30:8080"))?;
    ensure!(
        has("-r 192.168.56.30:80 ")(&oracle::ipvs(&director)?),
        "port 80 went with it"
    );
    let message = said(
        scene,
        "Healthy",
        "False",
        "192.168.56.30 by DR: connect to 192.168.56.100:8080",
    )?;
    scene.step(&format!(
        "a port is shut: out after {took:.1?}, the other port goes on: {message}"
    ));

    quiesced(scene, &director)?;
    rs1.shell("nft delete table inet shut")?;
    shop::table(&director, "rs1 has its weight again", |lines| {
        lines.len() == 6 && lines.iter().all(|line| !line.ends_with("-w 0"))
    })?;

    answers(scene, &director)
}

/// By its named port rs1 is down on both. Where it has a connection it keeps it, and its place, until that one ends.
fn quiesced(scene: &Scene, director: &Host) -> Result<()> {
    let client = scene.host("client")?;
    // One to each real server.
    let open = format!("exec 3<>/dev/tcp/{VIP}/80 4<>/dev/tcp/{VIP}/80; echo connected; exec sleep 600");
    let connected = client.start(Program::new(["bash", "-c", &open]), "connected", false)?;
    connected.wait_for("connected", LIMIT)?;
    scene.apply(&service(
        "[80, 8080]",
        &format!("[{{port: 8080, onFailure: Quiesce, {PACE}}}]"),
    ))?;
    let of_rs1 = |lines: &[String]| -> Vec<String> {
        let ours = lines.iter().filter(|line| line.contains("-r 192.168.56.30"));
        ours.cloned().collect()
    };
    let took = shop::table(director, "rs1 has weight 0 on port 80 alone", |lines| {
        let left = of_rs1(lines);
        left.len() == 1 && left[0].ends_with("-r 192.168.56.30:80 -g -w 0")
    })?;
    scene.step(&format!(
        "a named port, Quiesce: weight 0 where it has a connection after {took:.1?}"
    ));
    connected.stop(Signal::Kill)?;
    let took = shop::table(director, "rs1 is gone", |lines| of_rs1(lines).is_empty())?;
    scene.step(&format!("its connection ended: it is gone after {took:.1?}"));
    Ok(())
}

/// An answer that is not the expected one counts as none.
fn answers(scene: &Scene, director: &Host) -> Result<()> {
    let checks = format!("[{{http: {{expectedStatuses: ['204']}}, {PACE}}}]");
    scene.apply(&service("[80]", &checks))?;
    shop::table(director, "nobody passes", |lines| lines.len() == 1)?;
    let message = said(scene, "Healthy", "False", "status 200, not 204")?;
    scene.step(&format!("an answer that is not expected: {message}"));
    let condition = ("Ready", "False", "NoRealServers");
    scene
        .control_plane()
        .wait_until_said("shop", "virtualservice/web", condition, "")?;
    scene.apply(&service(
        "[80]",
        &format!("[{{http: {{path: /x, host: shop.example}}, {PACE}}}]"),
    ))?;
    shop::table(director, "both pass", |lines| lines.len() == 3)?;
    shop::ready(scene, "web").map(drop)
}
