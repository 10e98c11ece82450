//! Every forwarding method, with either family and each protocol: does it serve, and what happens to it?
//!
//! A network is one test. All its services are asked at once, and each step of their life is taken with all of them:
//! what is judged is each cell by itself, by packets and by other people's tools.

#[path = "matrix/by_hand.rs"]
mod by_hand;
#[path = "matrix/evidence.rs"]
mod evidence;
#[path = "matrix/manifests.rs"]
mod manifests;
#[path = "matrix/rows.rs"]
mod rows;
#[path = "matrix/steps.rs"]
mod steps;
#[path = "matrix/table.rs"]
mod table;

use anyhow::{Result, ensure};
use e2e::scene::{Scene, Test};
use e2e::{clock, progress, shop, traffic};

use evidence::Evidence;
use rows::{Cell, Network, REAL_SERVERS};
use steps::Step;
use table::Line;

/// By an administrator's own commands: when this fails, too, it is the kernel's or the lab's fault.
pub(crate) const BY_HAND: &[(&str, Test)] = &[
    ("matrix::by_hand::one_lan", |scene| by_hand(scene, Network::OneLan)),
    ("matrix::by_hand::director_between", |scene| {
        by_hand(scene, Network::DirectorBetween)
    }),
    ("matrix::by_hand::remote", |scene| by_hand(scene, Network::Remote)),
];

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("matrix::one_lan", |scene| matrix(scene, Network::OneLan)),
    ("matrix::director_between", |scene| {
        matrix(scene, Network::DirectorBetween)
    }),
    ("matrix::remote", |scene| matrix(scene, Network::Remote)),
];

/// Of the kernels that lvs-operator is not developed on, in an ordinary run: where kernels differ most is tunnels.
pub(crate) const IN_SHORT: &[(&str, Test)] = &[("matrix::remote", |scene| matrix(scene, Network::Remote))];

/// What the kernel itself can do: what fails here is not the product's fault.
fn by_hand(scene: &Scene, network: Network) -> Result<()> {
    scene.lay(&network.plans())?;
    servers(scene, network)?;
    for (name, _) in REAL_SERVERS {
        scene.keep(traffic::nginx(&*scene.host(name)?, &shop::PORTS)?);
    }
    by_hand::programmed(scene, network)?;
    let cells = network.cells();
    let begin = clock::now();
    let found = evidence::gathered(scene, network, &cells)?;
    said(scene, "by hand", begin.elapsed().as_secs_f64(), cells.len());
    let wrong: Vec<_> = cells
        .iter()
        .zip(&found)
        .filter_map(|(cell, found)| differs(cell, found).err())
        .collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

fn differs(cell: &Cell, found: &Evidence) -> Result<(), String> {
    let expected = Evidence::expected(cell);
    if *found == expected {
        return Ok(());
    }
    Err(format!("{cell}: {found:?}, not {expected:?}"))
}

/// The echoes of UDP and SCTP; nginx is there for TCP.
fn servers(scene: &Scene, network: Network) -> Result<()> {
    for (name, last) in REAL_SERVERS {
        let cells = network.cells();
        let mut endpoints = cells
            .iter()
            .map(|cell| cell.served_at(last))
            .collect::<Result<Vec<_>>>()?;
        endpoints.retain(|endpoint| endpoint.transport != e2e::endpoint::Transport::Tcp);
        scene.keep(traffic::echo(&*scene.host(name)?, &endpoints)?);
    }
    Ok(())
}

fn said(scene: &Scene, what: &str, seconds: f64, cells: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let each = seconds / cells as f64;
    scene.step(&format!("{what}: {cells} cells in {seconds:.1} s, {each:.2} s each"));
}

fn matrix(scene: &Scene, network: Network) -> Result<()> {
    let options = steps::agents();
    let before = shop::open(scene, &network.plans(), &options)?;
    servers(scene, network)?;
    scene.apply(&manifests::group())?;
    scene.apply(&manifests::shop(network))?;
    let cells = network.cells();
    let mut lines: Vec<Line> = Vec::new();
    for step in Step::on(scene.suite) {
        let begin = clock::now();
        let verdicts = if *step == Step::Serve {
            for row in network.rows() {
                shop::all_serve(scene, row.service)?;
            }
            let found = evidence::gathered(scene, network, &cells)?;
            let line = |(cell, evidence): (&Cell, Evidence)| Line {
                cell: *cell,
                evidence,
                verdicts: Vec::new(),
            };
            lines = cells.iter().zip(found).map(line).collect();
            lines.iter().map(|line| differs(&line.cell, &line.evidence)).collect()
        } else {
            steps::taken(scene, network, &cells, *step)?
        };
        said(scene, step.name(), begin.elapsed().as_secs_f64(), cells.len());
        for (line, verdict) in lines.iter_mut().zip(verdicts) {
            line.verdicts.push((*step, verdict));
        }
    }
    shop::unchanged(scene, &before)?;
    let failures: Vec<_> = lines.iter().flat_map(Line::failures).collect();
    failures.iter().for_each(|failure| progress::say(failure));
    ensure!(
        failures.is_empty(),
        "{} cells failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    table::checked(&format!("{}, {}", scene.suite.linux(), network.name()), &lines)
}
