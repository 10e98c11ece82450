//! What packets and tools tell of a cell that serves, and what they should.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::capture::Capture;
use e2e::endpoint::Endpoint;
use e2e::oracle::{self, Counters};
use e2e::scene::Scene;
use e2e::traffic::{self, Answers};
use e2e::{clock, topology};

use super::rows::{Cell, Network, port};

/// Of each cell.
const REQUESTS: u32 = 4;
/// The kernel adds up what its processors counted every two seconds.
const COUNTED: Duration = Duration::from_secs(10);

/// What is told of a cell, in the names of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Who answered the client, each as often.
    pub(crate) servers: String,
    /// Whom the real servers took for the client.
    pub(crate) client: String,
    /// Who answered for the VIP, by ARP or neighbour discovery.
    pub(crate) neighbour: String,
    /// Who handed the answers to the client's link.
    pub(crate) last_hops: String,
    /// Whether the director's IPVS counted packets to clients.
    pub(crate) through_director: bool,
}

impl Evidence {
    /// What it should be.
    pub(crate) fn expected(cell: &Cell) -> Self {
        let client = if cell.row.method == "FullNAT" { "dir1" } else { "client" };
        Self {
            servers: "rs1, rs2".to_owned(),
            client: client.to_owned(),
            neighbour: "dir1".to_owned(),
            last_hops: cell.row.last_hops().join(", "),
            through_director: !cell.row.bypasses(),
        }
    }
}

/// Asks all cells at once, with one capture at the client.
pub(crate) fn gathered(scene: &Scene, network: Network, cells: &[Cell]) -> Result<Vec<Evidence>> {
    let (client, director) = (scene.host("client")?, scene.host("dir1")?);
    let wanted: Vec<(Endpoint, u32)> = cells
        .iter()
        .map(|cell| Ok((cell.endpoint()?, REQUESTS)))
        .collect::<Result<_>>()?;
    let capture = Capture::start(&client, "eth0", "ip or ip6")?;
    let mut answers = traffic::ask(&client, &wanted)?;
    let frames = capture.stop()?.lines("")?;
    once_more(scene, &wanted, &mut answers)?;
    let vips: BTreeSet<String> = cells.iter().map(|cell| cell.row.vip(cell.family)).collect();
    let neighbours = oracle::neighbour_answers(&client, &vips.into_iter().collect::<Vec<_>>())?;
    let all_counted = || {
        let counters = oracle::counters(&director)?;
        let counted =
            |(endpoint, _): &(Endpoint, u32)| counters.get(&endpoint.in_ipvsadm()).is_some_and(|c| c.packets_in > 0);
        Ok(wanted.iter().all(counted).then_some(counters.clone()))
    };
    // A cell without a packet is told by its answers.
    let counters = match clock::until("every service has counted packets", COUNTED, all_counted) {
        Ok((counters, _)) => counters,
        Err(_) => oracle::counters(&director)?,
    };
    let names = Names::of(scene, network)?;
    let of = |cell: &Cell| {
        let endpoint = cell.endpoint()?;
        let vip = cell.row.vip(cell.family);
        let counted: Counters = counters.get(&endpoint.in_ipvsadm()).copied().unwrap_or_default();
        let source = format!(" {vip}.{} > ", port(cell.transport));
        let macs = frames
            .iter()
            .filter(|frame| frame.contains(&source))
            .filter_map(|frame| frame.split(' ').nth(1));
        let answers = answers.get(&endpoint).context("no answers")?;
        Ok(Evidence {
            servers: servers(answers),
            client: names.joined(answers.by_client.keys().map(String::as_str)),
            neighbour: names.joined(neighbours[&vip].iter().map(String::as_str)),
            last_hops: names.joined(macs),
            through_director: counted.packets_out > 0,
        })
    };
    cells.iter().map(of).collect()
}

/// Asks those again, alone, that were not answered in turn: who comes by the port of a former connection meets its server.
fn once_more(scene: &Scene, wanted: &[(Endpoint, u32)], answers: &mut BTreeMap<Endpoint, Answers>) -> Result<()> {
    for (endpoint, number) in wanted {
        let Some(found) = answers.get(endpoint).filter(|found| !is_even(found)) else {
            continue;
        };
        let known = scene.host("dir1")?.run("cat /proc/net/ip_vs_conn")?;
        scene.step(&format!("{endpoint} out of turn: {found}; IPVS knows:\n{known}"));
        answers.extend(traffic::ask(&*scene.host("client")?, &[(*endpoint, *number)])?);
    }
    Ok(())
}

fn is_even(answers: &Answers) -> bool {
    answers.by_server.values().collect::<BTreeSet<_>>().len() == 1
}

/// Those that answered, when all did in turn; else what happened.
fn servers(answers: &Answers) -> String {
    if is_even(answers) && answers.failed.is_empty() {
        return answers.by_server.keys().cloned().collect::<Vec<_>>().join(", ");
    }
    answers.to_string()
}

/// Hosts by address and by MAC address.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(scene: &Scene, network: Network) -> Result<Self> {
        let mut names = BTreeMap::new();
        for plan in network.plans() {
            let host = scene.host(&plan.name)?;
            names.insert(host.mac()?, plan.name.clone());
            for (lan, last) in &plan.links {
                names.insert(topology::ipv4(*lan, *last), plan.name.clone());
                names.insert(topology::ipv6(*lan, *last), plan.name.clone());
            }
        }
        Ok(Self(names))
    }

    fn joined<'a>(&self, found: impl Iterator<Item = &'a str>) -> String {
        let name = |one: &str| self.0.get(one).cloned().unwrap_or_else(|| one.to_owned());
        found
            .map(name)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ")
    }
}
