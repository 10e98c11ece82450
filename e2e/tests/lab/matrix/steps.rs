//! What happens to services that serve, and whether each cell goes on as it should.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::endpoint::Endpoint;
use e2e::process::Signal;
use e2e::product::AgentOptions;
use e2e::root_image::Suite;
use e2e::scene::Scene;
use e2e::shop::{self, LIMIT, NODES};
use e2e::traffic::{self, Answers};
use e2e::{clock, netlink_capture, oracle};
use serde_json::Value;

use super::manifests;
use super::rows::{Cell, Family, Network, REAL_SERVERS};

/// Of the agents: whatever nothing notifies of is seen by the next audit.
const AUDIT_SECONDS: u32 = 3;

/// A step in a service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Serve,
    WeightZero,
    Remove,
    Restart,
    Drift,
    Delete,
}

impl Step {
    /// All where lvs-operator is developed, the ends of a life elsewhere.
    pub(crate) fn on(suite: Suite) -> &'static [Self] {
        match suite {
            Suite::Trixie => &[
                Self::Serve,
                Self::WeightZero,
                Self::Remove,
                Self::Restart,
                Self::Drift,
                Self::Delete,
            ],
            Suite::Bookworm | Suite::Sid => &[Self::Serve, Self::Drift, Self::Delete],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::WeightZero => "weight 0",
            Self::Remove => "remove",
            Self::Restart => "agent restart",
            Self::Drift => "drift",
            Self::Delete => "delete",
        }
    }
}

pub(crate) fn agents() -> AgentOptions {
    AgentOptions {
        flags: vec!["--audit-seconds".to_owned(), AUDIT_SECONDS.to_string()],
        ..AgentOptions::default()
    }
}

/// Of each cell, in their order.
pub(crate) type Verdicts = Vec<Result<(), String>>;

pub(crate) fn taken(scene: &Scene, network: Network, cells: &[Cell], step: Step) -> Result<Verdicts> {
    match step {
        Step::Serve => Ok(Vec::new()),
        Step::WeightZero => weight_zero(scene, network, cells),
        Step::Remove => remove(scene, network, cells),
        Step::Restart => restart(scene, cells),
        Step::Drift => drift(scene, network, cells),
        Step::Delete => delete(scene, network, cells),
    }
}

fn ask(scene: &Scene, cells: &[Cell], number: u32) -> Result<BTreeMap<Endpoint, Answers>> {
    let wanted = cells
        .iter()
        .map(|cell| Ok((cell.endpoint()?, number)))
        .collect::<Result<Vec<_>>>()?;
    traffic::ask(&*scene.host("client")?, &wanted)
}

/// Asks each cell `number` times, and expects these servers to answer in turn. One that was asked out of turn is asked once
/// more, with what IPVS knows of its connections in the log: round robin has one turn for everything that is scheduled.
fn answered(scene: &Scene, cells: &[Cell], number: u32, servers: &[&str]) -> Result<Verdicts> {
    let mut verdicts = in_turn(scene, cells, number, servers)?;
    for (cell, verdict) in cells.iter().zip(&mut verdicts) {
        let Err(words) = verdict else { continue };
        let known = scene.host("dir1")?.run("cat /proc/net/ip_vs_conn")?;
        scene.step(&format!(
            "{} out of turn: {words}; IPVS knows:\n{known}",
            cell.endpoint()?
        ));
        *verdict = in_turn(scene, std::slice::from_ref(cell), number, servers)?.remove(0);
    }
    Ok(verdicts)
}

fn in_turn(scene: &Scene, cells: &[Cell], number: u32, servers: &[&str]) -> Result<Verdicts> {
    let answers = ask(scene, cells, number)?;
    let each = number as usize / servers.len();
    let verdict = |cell: &Cell| {
        let answers = answers.get(&cell.endpoint()?).context("no answers")?;
        let good = answers.failed.is_empty() && servers.iter().all(|server| answers.of(server) == each);
        Ok(if good { Ok(()) } else { Err(answers.to_string()) })
    };
    cells.iter().map(verdict).collect()
}

/// The first that is wrong stands.
fn both(first: Verdicts, second: Verdicts) -> Verdicts {
    first
        .into_iter()
        .zip(second)
        .map(|(first, second)| first.and(second))
        .collect()
}

/// Lines of `ipvsadm -Sn` about the second real server, of all cells.
fn second_has(lines: &[String], network: Network, count: usize, holds: impl Fn(&str) -> bool) -> bool {
    let (_, last) = REAL_SERVERS[1];
    let named = Family::ALL.map(|family| match family {
        Family::Ipv4 => format!("-r {}:", family.address(network.lan(), last)),
        Family::Ipv6 => format!("-r [{}]:", family.address(network.lan(), last)),
    });
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| named.iter().any(|name| line.contains(name)))
        .collect();
    lines.len() == count && lines.iter().all(|line| holds(line))
}

fn has_weight(line: &str, weight: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| *word != "-w");
    words.nth(1) == Some(weight)
}

fn weight_zero(scene: &Scene, network: Network, cells: &[Cell]) -> Result<Verdicts> {
    let director = scene.host("dir1")?;
    shop::patch(scene, "realserver/rs2", r#"{"weight":0}"#)?;
    shop::table(&director, "rs2 has weight 0", |lines| {
        second_has(lines, network, cells.len(), |line| has_weight(line, "0"))
    })?;
    let quiesced = answered(scene, cells, 2, &["rs1"])?;
    shop::patch(scene, "realserver/rs2", r#"{"weight":1}"#)?;
    back(scene, network, cells)?;
    Ok(both(quiesced, answered(scene, cells, 2, &["rs1", "rs2"])?))
}

fn back(scene: &Scene, network: Network, cells: &[Cell]) -> Result<()> {
    shop::table(&*scene.host("dir1")?, "rs2 has weight 1", |lines| {
        second_has(lines, network, cells.len(), |line| has_weight(line, "1"))
    })
    .map(drop)
}

fn remove(scene: &Scene, network: Network, cells: &[Cell]) -> Result<Verdicts> {
    let real_server = manifests::real_server(network, REAL_SERVERS[1]);
    scene.delete(&real_server)?;
    shop::table(&*scene.host("dir1")?, "rs2 is gone", |lines| {
        second_has(lines, network, 0, |_| true)
    })?;
    let removed = answered(scene, cells, 2, &["rs1"])?;
    let host = scene.host("rs2")?;
    let held = |cell: &Cell| -> Result<_> {
        let held = || {
            Ok(oracle::holders(&host, &cell.row.vip(cell.family))?
                .is_empty()
                .then_some(()))
        };
        Ok(clock::until("rs2 lost the VIP", LIMIT, held)
            .map(drop)
            .map_err(|error| format!("{error:#}")))
    };
    let released = cells.iter().map(held).collect::<Result<_>>()?;
    scene.apply(&real_server)?;
    back(scene, network, cells)?;
    let again = answered(scene, cells, 2, &["rs1", "rs2"])?;
    Ok(both(both(removed, released), again))
}

/// Killed, and started again on an unchanged world: it serves meanwhile, and nothing is written.
fn restart(scene: &Scene, cells: &[Cell]) -> Result<Verdicts> {
    for (name, _) in NODES {
        scene.stop_agent(name, Signal::Kill)?;
    }
    let without = answered(scene, cells, 2, &["rs1", "rs2"])?;
    let hosts = NODES
        .iter()
        .map(|(name, _)| scene.host(name))
        .collect::<Result<Vec<_>>>()?;
    let captures = hosts
        .iter()
        .map(|host| netlink_capture::start(host))
        .collect::<Result<Vec<_>>>()?;
    for (name, _) in NODES {
        scene.start_agent_again(name, &agents())?;
    }
    for (name, _) in NODES {
        shop::agent_ready(scene, name)?;
    }
    thread::sleep(Duration::from_secs((AUDIT_SECONDS + 1).into()));
    let mut written = Vec::new();
    for (host, capture) in hosts.iter().zip(captures) {
        let writes = capture.stop()?;
        if writes.total() > 0 {
            written.push(format!("{} wrote {writes}", host.name));
        }
    }
    scene.step(&format!("after the restart: {} nodes wrote {written:?}", NODES.len()));
    let silent = if written.is_empty() {
        Ok(())
    } else {
        Err(written.join("; "))
    };
    let with = answered(scene, cells, 2, &["rs1", "rs2"])?;
    let silent = vec![silent; cells.len()];
    Ok(both(both(without, silent), with))
}

/// What somebody does to every node, whatever is there.
const DISTURBANCES: &[(&str, &str)] = &[
    ("dir1", "ipvsadm -C"),
    ("dir1", "nft delete table inet lvs_operator 2>/dev/null || true"),
    (
        "dir1",
        "for a in $(ip -o addr show dev eth0 | grep -o '[^ ]*/32\\|[^ ]*/128'); do ip addr del $a dev eth0; done",
    ),
    (
        "rs1",
        "for a in $(ip -o addr show dev lo | grep -o '192[^ ]*/32\\|fd[^ ]*/128'); do ip addr del $a dev lo; done",
    ),
    // Devices of tunnels that are not the kernel's own ones, which nobody can delete.
    (
        "rs1",
        "for i in $(ip -d -o link | grep -e ' ipip ' -e ' ip6tnl ' -e ' gre ' -e ' ip6gre ' | cut -d' ' -f2 | cut -d@ -f1 | \
         grep -v -e '^tunl0$' -e '^ip6tnl0$' -e '^gre0$' -e '^ip6gre0$'); do ip link del $i; done",
    ),
    ("rs1", "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0"),
];

/// All of it at once; then every cell must answer again, by both real servers.
fn drift(scene: &Scene, network: Network, cells: &[Cell]) -> Result<Verdicts> {
    for (host, by) in DISTURBANCES {
        scene.host(host)?.shell(by)?;
    }
    let begin = clock::now();
    back(scene, network, cells)?;
    let mut verdicts = Vec::new();
    let healed = || {
        verdicts = answered(scene, cells, 2, &["rs1", "rs2"])?;
        Ok(verdicts.iter().all(Result::is_ok).then_some(()))
    };
    // What does not heal is told by its verdict.
    drop(clock::until("all cells answer", LIMIT, healed));
    scene.step(&format!("healed after {:.1} s at most", begin.elapsed().as_secs_f64()));
    Ok(verdicts)
}

/// No answer, and nobody there to give one.
fn delete(scene: &Scene, network: Network, cells: &[Cell]) -> Result<Verdicts> {
    scene.delete(&manifests::shop(network))?;
    shop::services_gone(scene)?;
    let deleted = || Ok(scene.delete(&manifests::group()).ok());
    clock::until("the group goes, too", LIMIT, deleted)?;
    let gone = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    scene
        .control_plane()
        .wait_for("no placement is left", LIMIT, &["placements", "-A"], gone)?;
    let vips: Vec<_> = network
        .rows()
        .flat_map(|row| Family::ALL.map(|family| row.vip(family)))
        .collect();
    let neighbours = oracle::neighbour_answers(&*scene.host("client")?, &vips)?;
    let answers = ask(scene, cells, 1)?;
    let verdict = |cell: &Cell| {
        let answers = answers.get(&cell.endpoint()?).context("no answers")?;
        let neighbours = &neighbours[&cell.row.vip(cell.family)];
        let silent = answers.by_server.is_empty() && neighbours.is_empty();
        Ok(if silent {
            Ok(())
        } else {
            Err(format!("{answers}; for the VIP answer {neighbours:?}"))
        })
    };
    cells.iter().map(verdict).collect()
}
