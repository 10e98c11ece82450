//! `cargo xtask bench`: how fast IPVS is programmed, beside ipvsadm and beside the floor, in one run in one guest; with
//! `--health`, what health checks take.
//!
//! No time here passes or fails: what is compared is ratios, for people to read. The contenders take turns, and the median
//! of the rounds counts: the first of all pays for the memory that the kernel has not touched yet, and the machine is never
//! quite idle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::guest::Guest;
use e2e::lab::Lab;
use e2e::program::Program;
use e2e::root_image::{Suite, root_image};
use e2e::{product, progress, settings};

use crate::run::{cargo, shown};
use crate::setup;

/// Services, and destinations of each.
const SIZES: [(u16, u8); 2] = [(1000, 10), (10_000, 5)];
const CONTENDERS: [&str; 3] = ["floor", "agent", "ipvsadm"];
/// ipvsadm repairs fifty thousand destinations by walking the kernel's list of deleted ones for each.
const LIMIT: Duration = Duration::from_secs(1800);

const ROUNDS: usize = 3;

/// Seconds of each round, and messages, by contender and what was timed.
type Times = BTreeMap<(String, String), (Vec<f64>, u64)>;

/// Runs it, and prints a table for each size.
pub(crate) fn bench() -> Result<()> {
    let suite = Suite::default();
    setup::setup(&[suite])?;
    let benchmark = built("lvs-bench")?;
    let lab = Lab::new()?;
    let programs = [product::program("lab-init")?, benchmark];
    let guest = Guest::boot(&root_image(suite)?, lab.folder(), &programs)?;
    for (services, destinations) in SIZES {
        let mut times = Times::new();
        for round in 1..=ROUNDS {
            for contender in CONTENDERS {
                let what = format!("{contender}: {services} x {destinations}, {round} of {ROUNDS}");
                progress::step(&what, || run(&guest, contender, services, destinations, &mut times))?;
            }
        }
        print(services, destinations, &times)?;
    }
    drop(guest);
    lab.end();
    Ok(())
}

/// Makes ten thousand TCP health checks a second, here and not in a guest, and prints what they took. It needs no right,
/// and fails when a probe fails or a socket is left; no time passes or fails here either.
pub(crate) fn health() -> Result<()> {
    shown(Command::new(built("lvs-bench-health")?))
}

fn built(program: &str) -> Result<PathBuf> {
    progress::step("building the benchmark", || {
        let build = [
            "build",
            "--quiet",
            "--release",
            "--package=node-agent",
            "--features=node-agent/bench",
        ];
        shown(cargo(&[&build[..], &["--bin", program]].concat()))
    })?;
    Ok(settings::target().join("release").join(program))
}

/// In a network namespace of its own: nothing was deleted in it yet.
fn run(guest: &Guest, contender: &str, services: u16, destinations: u8, times: &mut Times) -> Result<()> {
    let line = format!(
        "ip link set lo up && exec /lab/lvs-bench --throw-away-namespace --contender {contender} \
         --services {services} --destinations {destinations}"
    );
    let output = guest.run(&Program::new(["unshare", "-n", "sh", "-c", &line]).timeout(LIMIT))?;
    for line in output.stdout.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [contender, what, seconds, messages] = words[..] else {
            continue;
        };
        let key = (contender.to_owned(), what.to_owned());
        let (rounds, count) = times.entry(key).or_default();
        rounds.push(seconds.parse()?);
        *count = messages.parse()?;
    }
    Ok(())
}

fn median(rounds: &[f64]) -> f64 {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

fn print(services: u16, destinations: u8, times: &Times) -> Result<()> {
    let of = |contender: &str, what: &str| -> Result<(f64, u64)> {
        let key = (contender.to_owned(), what.to_owned());
        let (rounds, messages) = times
            .get(&key)
            .with_context(|| format!("{contender} said nothing of {what}"))?;
        Ok((median(rounds), *messages))
    };
    let entries = u32::from(services) * (1 + u32::from(destinations));
    println!("\n{services} services x {destinations} destinations: {entries} entries");
    println!("{:<34} {:>11} {:>9}  compared", "", "seconds", "messages");
    let row = |name: &str, (seconds, messages): (f64, u64), compared: &str| {
        println!("{name:<34} {seconds:>11.4} {messages:>9}  {compared}");
    };
    let floor = of("floor", "programming")?;
    let ours = of("agent", "programming")?;
    row("prepared batches (the floor)", floor, "");
    row(
        "lvs-agent, programming",
        ours,
        &format!("{:.2} of the floor", ours.0 / floor.0),
    );
    let read = of("agent", "programming-reading")?;
    row("lvs-agent, reading back", read, "");
    let whole = of("agent", "programming-whole")?;
    row(
        "lvs-agent, the whole pass",
        whole,
        "decisions, reading back and statuses included",
    );
    let theirs = of("ipvsadm", "programming")?;
    let of_floor = theirs.0 / floor.0;
    let ratios =
        |programming: f64, whole: f64| format!("{programming:.1} times our programming, {whole:.1} times our pass");
    let compared = ratios(theirs.0 / ours.0, theirs.0 / whole.0);
    row(
        "ipvsadm -R",
        theirs,
        &format!("{of_floor:.1} times the floor, {compared}"),
    );
    let (ours, whole) = (of("agent", "repair")?, of("agent", "repair-whole")?);
    row("lvs-agent after a flush", ours, "programming");
    row("lvs-agent after a flush, whole", whole, "");
    let theirs = of("ipvsadm", "repair")?;
    row(
        "ipvsadm -R after ipvsadm -C",
        theirs,
        &ratios(theirs.0 / ours.0, theirs.0 / whole.0),
    );
    let (ours, theirs) = (of("agent", "weight")?, of("ipvsadm", "weight")?);
    row("lvs-agent, one weight", ours, "change, reading back and status");
    row("ipvsadm -e", theirs, &format!("{:.1} times ours", theirs.0 / ours.0));
    ensure!(ours.1 > 0, "a weight was no message");
    Ok(())
}
