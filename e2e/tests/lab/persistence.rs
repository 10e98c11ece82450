//! A client meets the same real server again: on every port, on each port, across ports, by mark; and not for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::endpoint::{Endpoint, Transport};
use e2e::product::AgentOptions;
use e2e::scene::{Scene, Test};
use e2e::topology::{self, Host};
use e2e::{clock, traffic};

use crate::shop::{self, LIMIT, NODES};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("persistence::case_24_by_port_across_ports_and_by_mark", kinds),
    ("persistence::f7_ends_and_leaves_a_quiesced_real_server", ends),
];

/// What somebody else's rules do: as the example's README says; and a bit in the mark of packets that ours is for, as
/// kube-proxy and others set it.
const MARKS: &str = "nft -f - <<END
table ip marks {
    chain in {
        type filter hook prerouting priority mangle;
        ip daddr 192.168.56.173 tcp dport { 80, 443 } meta mark set 10
        ip daddr 192.168.56.172 meta mark set meta mark | 0x4000
    }
}
END";

/// Five clients that meet two ports, and one before them that meets the last port alone: of two real servers, one port is a
/// turn further then than it was.
struct Clients {
    first: u8,
    five: RangeInclusive<u8>,
}

const EARLY: Clients = Clients {
    first: 206,
    five: 201..=205,
};
const LATE: Clients = Clients {
    first: 212,
    five: 207..=211,
};

fn client_address(last: u8) -> String {
    format!("192.168.56.{last}")
}

fn endpoint(vip: u8, port: u16) -> Result<Endpoint> {
    Endpoint::new(Transport::Tcp, &format!("192.168.56.{vip}"), port)
}

fn kinds(scene: &Scene) -> Result<()> {
    let before = shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    scene.apply(&shop::example("persistence")?)?;
    for service in ["any-port", "per-port", "across-ports", "by-mark"] {
        shop::all_serve(scene, service)?;
    }
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    director.shell(MARKS)?;
    let more: String = (*EARLY.five.start()..=LATE.first)
        .map(|last| format!("ip address add 192.168.56.{last}/24 dev eth0\n"))
        .collect();
    client.shell(&format!("set -e\n{more}"))?;
    // In step or not, by whom the first probes let in first; a turn on one port alone makes it the other.
    let mut split = [0; 2];
    for (split, clients) in split.iter_mut().zip([EARLY, LATE]) {
        *split = split_clients(&client, &clients, 171, &[80, 443])?;
    }
    scene.step(&format!(
        "per-port: {split:?} of 5 clients meet two real servers on two ports"
    ));
    ensure!(
        matches!(split, [0, 5] | [5, 0]),
        "the ports do not take turns by themselves"
    );
    for (service, vip, ports) in [
        ("any-port", 170, &[80, 8080, 443][..]),
        ("across-ports", 172, &[80, 443]),
        ("by-mark", 173, &[80, 443]),
    ] {
        let split = split_clients(&client, &EARLY, vip, ports)?;
        scene.step(&format!(
            "{service}: {split} of 5 clients meet two real servers on {} ports",
            ports.len()
        ));
        ensure!(split == 0, "{service}: {split} clients met two real servers");
    }
    templates(scene, &director)?;
    director.run("nft delete table ip marks")?;
    shop::close(scene, "persistence", &before)
}

/// How many of the five clients meet several real servers on these ports. On one port a client always meets one.
fn split_clients(client: &Host, clients: &Clients, vip: u8, ports: &[u16]) -> Result<usize> {
    let mut met: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut all = BTreeSet::new();
    let last = endpoint(vip, *ports.last().context("no port")?)?;
    traffic::ask_from(client, &[client_address(clients.first)], &[(last, 1)])?;
    // Port by port and client by client: the turns are then the same on each.
    for port in ports {
        let at = endpoint(vip, *port)?;
        for source in clients.five.clone().map(client_address) {
            let answers = traffic::ask_from(client, std::slice::from_ref(&source), &[(at, 2)])?
                .remove(&at)
                .context("no answers")?;
            answers.expect_all()?;
            let servers = answers.by_client.get(&source).context("another client was seen")?;
            ensure!(servers[0] == servers[1], "{source} met {servers:?} at {at}");
            met.entry(source).or_default().insert(servers[0].clone());
            all.insert(servers[0].clone());
        }
    }
    ensure!(all.len() == 2, "all clients of .{vip} met {all:?}");
    Ok(met.values().filter(|servers| servers.len() > 1).count())
}

/// `ipvsadm -Lnc` has a template for each client: by VIP and port 0, by VIP and port, by mark.
fn templates(scene: &Scene, director: &Host) -> Result<()> {
    let connections = director.run("ipvsadm -Lnc")?;
    // A mark stands where a VIP does: mark 10 is 0.0.0.10. Ours is of our own range.
    for (service, protocol, holds) in [
        ("any-port", "TCP", " 192.168.56.170:0 "),
        ("per-port", "TCP", " 192.168.56.171:80 "),
        ("per-port", "TCP", " 192.168.56.171:443 "),
        ("by-mark", "IP", " 0.0.0.10:0 "),
    ] {
        let count = template_count(&connections, protocol, |line| line.contains(holds));
        scene.step(&format!("{service}: {count} templates of{holds}"));
        ensure!(count >= 5, "{service}:\n{connections}");
    }
    let ours = template_count(&connections, "IP", |line| !line.contains(" 0.0.0.10:0 "));
    ensure!(ours >= 5, "across-ports has {ours} templates:\n{connections}");
    Ok(())
}

/// A template has the client's port 0.
fn template_count(connections: &str, protocol: &str, holds: impl Fn(&str) -> bool) -> usize {
    let templates = connections.lines().filter(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.first() == Some(&protocol) && words.get(3).is_some_and(|client| client.ends_with(":0"))
    });
    templates.filter(|line| holds(line)).count()
}

const SHORT: &str = "apiVersion: lvs-operator.io/v1alpha1
kind: VirtualService
metadata: {name: short, namespace: shop}
spec:
  addresses: [{address: 192.168.56.174}]
  ports: [{protocol: UDP, port: 5353}]
  scheduler: rr
  persistence: {timeoutSeconds: 4}
  realServerSelector: {matchLabels: {app: web}}
  healthChecks: [{none: {}}]
";

/// A template lives as long as its connections, and the timeout after that; then the client has its turn again.
fn ends(scene: &Scene) -> Result<()> {
    shop::open(scene, &topology::one_lan(&NODES), &AgentOptions::default())?;
    let at = Endpoint::new(Transport::Udp, "192.168.56.174", 5353)?;
    for name in ["rs1", "rs2"] {
        scene.keep(traffic::echo(&*scene.host(name)?, &[at])?);
    }
    scene.apply(&shop::example("dr")?)?;
    let timeouts = r#"{"spec":{"timeouts":{"udpSeconds":1}}}"#;
    let patch = ["patch", "directorgroup/default", "--type=merge", "-p", timeouts];
    scene.control_plane().kubectl(&patch, None)?;
    scene.apply(SHORT)?;
    shop::ready(scene, "short")?;
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let timeouts = || {
        Ok(director
            .run("ipvsadm -L --timeout")?
            .trim_end()
            .ends_with(" 1")
            .then_some(()))
    };
    clock::until("UDP's timeout is 1 s", LIMIT, timeouts)?;
    let met = || -> Result<Vec<String>> {
        let answers = traffic::ask(&client, &[(at, 3)])?.remove(&at).context("no answers")?;
        answers.expect_all()?;
        Ok(answers.order)
    };
    let first = met()?;
    ensure!(first.iter().all(|server| *server == first[0]), "{first:?}");
    let templates = || -> Result<usize> { Ok(template_count(&director.run("ipvsadm -Lnc")?, "UDP", |_| true)) };
    ensure!(templates()? == 1, "{}", director.run("ipvsadm -Lnc")?);
    let (_, lived) = clock::until("the template ended", LIMIT, || Ok((templates()? == 0).then_some(())))?;
    scene.step(&format!("the template ended after {:.1} s", lived.as_secs_f64()));
    ensure!(lived < Duration::from_secs(12), "a template of 4 s lived for {lived:?}");
    let second = met()?;
    scene.step(&format!("first {}, then {}", first[0], second[0]));
    ensure!(
        second.iter().all(|server| *server != first[0]),
        "{first:?}, then {second:?}"
    );
    // The client's template says where it was; a real server of weight 0 gets nobody new, him neither.
    shop::patch(scene, &format!("realserver/{}", second[0]), r#"{"weight":0}"#)?;
    shop::table(&director, "it is quiesced", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with("-a -u") && line.ends_with("-w 0"))
    })?;
    let third = met()?;
    scene.step(&format!("f7: {} quiesced, then {}", second[0], third[0]));
    ensure!(
        third.iter().all(|server| *server == first[0]),
        "f7: {second:?}, then {third:?}"
    );
    Ok(())
}
