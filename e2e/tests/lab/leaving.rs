//! Real servers that leave: do their connections live on, for as long as they may and no longer?

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cluster::condition_of;
use e2e::endpoint::{Endpoint, Transport};
use e2e::guest_process::GuestProcess;
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::program::Program;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::traffic::{self, ECHO, RunningClient, Stream};
use e2e::{clock, oracle};
use serde_json::Value;

use crate::shop::{self, LIMIT, NODES, PORTS};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("leaving::f1_f2_f3_case10_downloads_and_idle_clients", downloads),
    ("leaving::f7_f8_udp_of_a_persistent_client", datagrams),
    ("leaving::quorum_and_sorry_server", sorry),
];

const VIP: &str = "192.168.56.100";
/// Of the downloads' service: longer than a download, shorter than a test's patience.
const DRAIN: Duration = Duration::from_secs(20);
/// Through both real servers together.
const DOWNLOADS: usize = 100;
/// From a deadline to the eye of the test, on an emulated processor.
const SLACK: Duration = Duration::from_secs(6);

const GROUP: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
    apiVersion: lvs-operator.io/v1alpha1\nkind: DirectorGroup\nmetadata: {name: default}\nspec:\n  \
    nodeSelector: {matchLabels: {lvs-operator.io/director: 'true'}}\n  interface: eth0\n  \
    allowedNamespaces: {from: All}\n  allowedCIDRs: [192.168.56.0/24]\n---\n";

/// The shop with these lines of its service, and its two real servers.
fn shop_of(service: &str) -> String {
    format!(
        "{GROUP}apiVersion: lvs-operator.io/v1alpha1\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         addresses: [{{address: {VIP}}}]\n  healthChecks: [{{none: {{}}}}]\n  \
         realServerSelector: {{matchLabels: {{app: web}}}}\n{service}---\n{}---\n{}",
        shop::real_server("rs1"),
        shop::real_server("rs2")
    )
}

fn downloads(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let seconds = DRAIN.as_secs();
    scene.apply(&shop_of(&format!(
        "  ports: [{{port: 80}}, {{port: {ECHO}}}]\n  scheduler: rr\n  drain: {{timeoutSeconds: {seconds}}}\n"
    )))?;
    shop::ready(scene, "web")?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    // Every ten seconds the client's kernel begins its source ports at another place (EPHEMERAL_PORT_SHUFFLE_PERIOD), which may be
    // where downloads were: one that uses such a port again would follow it to rs1.
    shop::set_conn_reuse_mode(&director, 3)?;
    let echo = Endpoint::new(Transport::Tcp, VIP, ECHO)?;
    for name in ["rs1", "rs2"] {
        scene.keep(traffic::echo(&*scene.host(name)?, &[echo])?);
    }
    let idle = [idle(&client, 1)?, idle(&client, 2)?];
    let loading = download(&client)?;
    clock::until("all downloads are under way", LIMIT, || {
        let lines = director.run("ipvsadm -Ln")?;
        let active = lines.lines().filter_map(active).sum::<usize>();
        Ok((active >= DOWNLOADS).then_some(()))
    })?;

    let begin = clock::now();
    scene
        .control_plane()
        .kubectl(&["-n", "shop", "delete", "realserver/rs1", "--wait=false"], None)?;
    shop::takes_nobody_new(&director, "192.168.56.30")?;
    let quiet = begin.elapsed();
    let running = RunningClient::start(&client, &format!("http://{VIP}"), 10)?;
    scene.stop_agent("dir1", Signal::Kill)?;
    scene.start_agent_again("dir1", &AgentOptions::default())?;
    let drains = |list: &Value| list.to_string().contains("drainsUntil");
    let plane = scene.control_plane();
    plane.wait_for(
        "the director says until when rs1 drains",
        LIMIT,
        &["-n", "shop", "placements"],
        drains,
    )?;

    finished(scene, &loading)?;
    ended(scene, &director, begin, quiet)?;
    let answers = running.stop()?;
    scene.step(&format!("the running client meanwhile: {answers}"));
    answers.expect_all()?;
    ensure!(answers.of("rs1") == 0, "somebody new met rs1: {answers}");
    told(scene, &idle)
}

/// A client that asks once, is idle until well behind the deadline, and asks again.
fn idle(client: &Host, number: u32) -> Result<GuestProcess> {
    let seconds = (DRAIN + SLACK).as_secs() + 25;
    let script = format!(
        "trap '' PIPE; exec 3<>/dev/tcp/{VIP}/{ECHO}; printf 'who?' >&3; server=$(head -c 3 <&3); timeout 2 cat <&3 > /dev/null; echo \"asked $server\"
        sleep {seconds}
        again=$({{ printf 'who?' >&3 && timeout 10 head -c 3 <&3; }} 2>&1); echo \"again $server: $? $again\""
    );
    let process = client.start(Program::new(["bash", "-c", &script]), &format!("idle-{number}"), false)?;
    process.wait_for("asked rs", LIMIT)?;
    Ok(process)
}

/// A hundred files at once, each of ten seconds.
fn download(client: &Host) -> Result<GuestProcess> {
    let format = "= %{http_code} %header{x-server} %{size_download} %{errormsg} |\\n";
    let most = DOWNLOADS.to_string();
    let url = format!("http://{VIP}/long?[1-{DOWNLOADS}]");
    let words = [
        "curl",
        "--silent",
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        &most,
        "--output",
        "/dev/null",
        "--write-out",
        format,
        &url,
    ];
    client.start(Program::new(words), "downloads", false)
}

/// `  -> 192.168.56.30:80             Route   1      50         0`.
fn active(line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at_port_80 = words.first() == Some(&"->") && words.get(1)?.ends_with(":80");
    words.get(4).filter(|_| at_port_80)?.parse().ok()
}

fn finished(scene: &Scene, loading: &GuestProcess) -> Result<()> {
    let (lines, _) = clock::until("every download has ended", LIMIT, || {
        let said = loading.output()?;
        let lines: Vec<String> = said
            .lines()
            .filter(|line| line.ends_with('|'))
            .map(str::to_owned)
            .collect();
        Ok((lines.len() == DOWNLOADS).then_some(lines))
    })?;
    let whole = |server: &str| {
        let line = format!("= 200 {server} {} ", traffic::LONG_BYTES);
        lines.iter().filter(|there| there.starts_with(&line)).count()
    };
    let (left, other) = (whole("rs1"), whole("rs2"));
    scene.step(&format!(
        "whole downloads: {left} through rs1, {other} through rs2, of {DOWNLOADS}"
    ));
    ensure!(
        left == DOWNLOADS / 2 && left + other == DOWNLOADS,
        "downloads that were cut: {lines:#?}"
    );
    Ok(())
}

/// The idle connection keeps rs1 in the table until the deadline, and not longer.
fn ended(scene: &Scene, director: &Host, begin: Instant, quiet: Duration) -> Result<()> {
    shop::table(director, "rs1 is gone", |lines| {
        !lines.iter().any(|line| line.contains("192.168.56.30"))
    })?;
    let took = begin.elapsed();
    let cut = director.run("nft list set inet lvs_operator cut4")?;
    scene.step(&format!(
        "rs1 had weight 0 after {quiet:.1?} and was gone after {took:.1?}; its deadline: {DRAIN:?}"
    ));
    ensure!(took >= DRAIN && took <= DRAIN + quiet + SLACK, "gone after {took:?}");
    ensure!(cut.contains("192.168.56.200"), "nobody is to be reset: {cut}");
    let rs1_let_go = || Ok(oracle::holders(&*scene.host("rs1")?, VIP)?.is_empty().then_some(()));
    clock::until("rs1 lets go of the VIP", LIMIT, rs1_let_go).map(drop)
}

/// The client of rs1 is reset at its next word, that of rs2 is answered.
fn told(scene: &Scene, idle: &[GuestProcess]) -> Result<()> {
    let mut words = Vec::new();
    for process in idle {
        process.wait_for("again rs", LIMIT)?;
        let said = process.output()?;
        let line = said.lines().find(|line| line.starts_with("again"));
        words.push(line.context("an idle client said nothing")?.to_owned());
    }
    words.sort();
    scene.step(&format!("the idle clients: {words:?}"));
    ensure!(
        words[0].starts_with("again rs1: 1 ") && words[0].contains("reset"),
        "not reset: {words:?}"
    );
    ensure!(words[1] == "again rs2: 0 rs2", "not answered: {words:?}");
    Ok(())
}

fn datagrams(scene: &Scene) -> Result<()> {
    const SECONDS: u64 = 8;
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    scene.apply(&shop_of(&format!(
        "  ports: [{{port: {ECHO}, protocol: UDP}}]\n  scheduler: rr\n  persistence: {{timeoutSeconds: 300}}\n  \
         drain: {{timeoutSeconds: {SECONDS}}}\n"
    )))?;
    shop::ready(scene, "web")?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let at = Endpoint::new(Transport::Udp, VIP, ECHO)?;
    for name in ["rs1", "rs2"] {
        scene.keep(traffic::echo(&*scene.host(name)?, &[at])?);
    }
    let stream = Stream::start(&client, &at)?;
    let (server, _) = stream.answered(LIMIT, |_| true)?;
    let again = traffic::ask(&client, &[(at, 2)])?.remove(&at).context("no answers")?;
    ensure!(again.of(&server) == 2, "not persistent: {again}");

    let begin = clock::now();
    let object = format!("realserver/{server}");
    scene
        .control_plane()
        .kubectl(&["-n", "shop", "delete", &object, "--wait=false"], None)?;
    shop::table(&director, "it takes nobody new", |lines| {
        lines.iter().any(|line| line.contains(" -r ") && line.ends_with("-w 0"))
    })?;
    let new = traffic::ask(&client, &[(at, 3)])?.remove(&at).context("no answers")?;
    scene.step(&format!(
        "f7: {server} drains; new sockets of its persistent client: {new}"
    ));
    new.expect_all()?;
    ensure!(new.of(&server) == 0, "f7: a new socket met {server}: {new}");
    stream
        .answered(LIMIT, |there| there == server)
        .context("the old socket was cut early")?;
    shop::table(&director, "it is gone", |lines| lines.len() == 2)?;
    let took = begin.elapsed();
    thread::sleep(Duration::from_secs(2));
    let last = stream.answers()?.into_iter().rev().take(10);
    let late: Vec<Duration> = last
        .filter(|(_, by)| by.as_ref() == Some(&server))
        .map(|(at, _)| at)
        .collect();
    scene.step(&format!(
        "f8: gone after {took:.1?}; answers of {server} in the last second: {late:?}"
    ));
    ensure!(late.is_empty(), "f8: {server} answers behind its deadline");
    ensure!(
        took <= Duration::from_secs(SECONDS) + SLACK + SLACK,
        "f8: gone after {took:?}"
    );
    Ok(())
}

/// The sequence of keepalived.conf(5): below the quorum all real servers leave for the sorry server, above it comes back.
fn sorry(scene: &Scene) -> Result<()> {
    let options = AgentOptions::default();
    shop::open(scene, &topology::one_lan(&NODES), &options)?;
    shop::add_host(scene, "rs3", 50, &options)?;
    shop::serve(scene, "drain", "web")?;
    let director = scene.host("dir1")?;
    shop::set_conn_reuse_mode(&director, 3)?;
    let hosts = [scene.host("rs1")?, scene.host("rs2")?];
    let stop = |host: &Host| {
        host.shell(&format!("kill $(cat /run/nginx-{}/pid)", host.name))
            .map(drop)
    };
    let start = |host: &Host| -> Result<()> {
        scene.keep(traffic::nginx(host, &PORTS)?);
        Ok(())
    };

    answer(scene, "both are up", &["rs1", "rs2"], ("True", "Ok"))?;
    stop(&hosts[0])?;
    answer(scene, "rs1 is down", &["rs2"], ("True", "Ok"))?;
    stop(&hosts[1])?;
    answer(scene, "both are down", &["rs3"], ("False", "SorryServer"))?;
    start(&hosts[1])?;
    answer(scene, "rs2 is up again", &["rs2"], ("True", "Ok"))?;
    start(&hosts[0])?;
    answer(scene, "both are up again", &["rs1", "rs2"], ("True", "Ok"))?;
    raised(scene, &hosts, stop)
}

/// With a quorum of both and hysteresis, one is lost with one of them, and back with both only.
fn raised(scene: &Scene, hosts: &[std::sync::Arc<Host>; 2], stop: impl Fn(&Host) -> Result<()>) -> Result<()> {
    shop::patch(scene, "virtualservice/web", r#"{"quorum":{"minimumWeight":2}}"#)?;
    answer(scene, "a quorum of both", &["rs1", "rs2"], ("True", "Ok"))?;
    stop(&hosts[0])?;
    answer(scene, "one of both is not enough", &["rs3"], ("False", "SorryServer"))?;
    shop::patch(scene, "virtualservice/web", r#"{"sorryServer":null}"#)?;
    answer(
        scene,
        "without a sorry server who is left goes on",
        &["rs2"],
        ("False", "BelowQuorum"),
    )
}

/// Waits until these servers answer and nobody else, and the service says so.
fn answer(scene: &Scene, what: &str, servers: &[&str], (status, reason): (&str, &str)) -> Result<()> {
    let client = scene.host("client")?;
    let (answers, took) = clock::until(what, LIMIT, || {
        let answers = traffic::requests(&client, &format!("http://{VIP}"), 10)?;
        let only = answers.failed.is_empty() && servers.iter().all(|server| answers.of(server) > 0);
        let sum: usize = servers.iter().map(|server| answers.of(server)).sum();
        Ok((only && sum == answers.total()).then_some(answers))
    })?;
    let plane = scene.control_plane();
    let ready = ("Ready", status, reason);
    let (object, _) = plane.wait_until_said("shop", "virtualservice/web", ready, "")?;
    let said = condition_of(&object, "Ready").map(|ready| ready["message"].clone());
    let said = said.unwrap_or_default();
    scene.step(&format!(
        "{what}: after {took:.1?}: {answers}; Ready={status}, {reason}: {said}"
    ));
    Ok(())
}
