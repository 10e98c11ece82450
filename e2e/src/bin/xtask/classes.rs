//! `cargo xtask test`: everything there is to check, as classes.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use e2e::root_image::Suite;
use e2e::{clock, progress, settings};

use crate::report::{Counts, Line, Report};
use crate::run::{EVERYTHING, cargo, counted};
use crate::{chart, crdgen, lab, purity, setup};

const MINUTE: Duration = Duration::from_secs(60);

/// A class of checks.
struct Class {
    name: &'static str,
    work: fn(long: bool) -> Result<Counts>,
    /// Whether it needs what is fetched and built in the background.
    needs_setup: bool,
}

/// Cheap ones first: who broke the formatting should not wait for the lab.
const CLASSES: &[Class] = &[
    Class {
        name: "format",
        work: format,
        needs_setup: false,
    },
    Class {
        name: "lint",
        work: lint,
        needs_setup: false,
    },
    Class {
        name: "purity",
        work: |_| purity::check(),
        needs_setup: false,
    },
    Class {
        name: "unit",
        work: unit,
        needs_setup: false,
    },
    Class {
        name: "fuzz",
        work: fuzz,
        needs_setup: false,
    },
    Class {
        name: "simulation",
        work: simulation,
        needs_setup: false,
    },
    Class {
        name: "documentation",
        work: documentation,
        needs_setup: false,
    },
    Class {
        name: "generated",
        work: generated,
        needs_setup: false,
    },
    Class {
        name: "chart",
        work: chart,
        needs_setup: true,
    },
    Class {
        name: "lab",
        work: in_the_lab,
        needs_setup: true,
    },
];

/// Runs all classes, or those whose name contains `only`, and prints what came of them.
pub(crate) fn test(long: bool, only: Option<&str>) -> Result<()> {
    let chosen: Vec<_> = CLASSES
        .iter()
        .filter(|class| only.is_none_or(|only| class.name.contains(only)))
        .collect();
    if chosen.is_empty() {
        bail!("no such class");
    }
    let report = thread::scope(|scope| {
        // Fetching and the Go build take minutes the first time: they begin before they are needed.
        let mut setup = chosen
            .iter()
            .any(|class| class.needs_setup)
            .then(|| scope.spawn(|| setup::fetched(&Suite::ALL)));
        Report(chosen.iter().map(|class| run(class, long, &mut setup)).collect())
    });
    println!("\n{report}");
    match report.total().failed {
        0 => Ok(()),
        // The last line of the output is the report's.
        _ => std::process::exit(1),
    }
}

type Setup<'scope> = Option<ScopedJoinHandle<'scope, Result<()>>>;

fn run(class: &Class, long: bool, setup: &mut Setup<'_>) -> Line {
    let begin = clock::now();
    progress::say(&format!("#### {}", class.name));
    let result = match class.needs_setup.then(|| setup.take()).flatten() {
        Some(setup) => setup.join().unwrap_or_else(|_| Err(anyhow!("the set-up panicked"))),
        None => Ok(()),
    };
    let result = result.context("the set-up failed").and_then(|()| (class.work)(long));
    let (counts, trouble) = match result {
        Ok(counts) => (counts, None),
        // Never silence: a class that could not run is a failure.
        Err(error) => (
            Counts {
                failed: 1,
                ..Counts::default()
            },
            Some(format!("{error:#}")),
        ),
    };
    if let Some(trouble) = &trouble {
        progress::say(&format!("#### {}: {trouble}", class.name));
    }
    Line {
        class: class.name.to_owned(),
        counts,
        seconds: begin.elapsed().as_secs_f64(),
        trouble,
    }
}

fn format(_: bool) -> Result<Counts> {
    counted(cargo(&["fmt", "--all", "--check"]), 5 * MINUTE)
}

fn lint(_: bool) -> Result<Counts> {
    let all = ["clippy", "--quiet", "--workspace", "--all-targets", "--all-features"];
    counted(cargo(&[&all[..], &["--", "-D", "warnings"]].concat()), 40 * MINUTE)
}

/// All members' tests; those of the lab report themselves as ignored here, and run below.
fn unit(long: bool) -> Result<Counts> {
    let targets = ["--no-fail-fast", "--lib", "--bins", "--tests", "--examples"];
    let mut command = cargo(&[&["test"], EVERYTHING, &targets].concat());
    command.env_remove(settings::LAB);
    // It has a class of its own.
    command.env("LVS_SIMULATION_SEEDS", "1");
    if long {
        command.env(settings::LONG, "1");
    }
    counted(command, 60 * MINUTE)
}

/// Seconds that each parser is fuzzed in an ordinary run, and in a long one. They are shared out to the processors.
const FUZZ_SECONDS: (&str, &str) = ("10", "600");

/// What servers say, mutated; the corpora themselves are replayed among the unit tests, which build the same programs.
fn fuzz(long: bool) -> Result<Counts> {
    let fuzz = ["--lib", "fuzz::", "--", "--ignored", "--show-output"];
    let mut command = cargo(&[&["test"], EVERYTHING, &fuzz].concat());
    command.env("LVS_FUZZ_SECONDS", if long { FUZZ_SECONDS.1 } else { FUZZ_SECONDS.0 });
    counted(command, 120 * MINUTE)
}

/// Seeds of the simulation in an ordinary run, and in a long one.
const SEEDS: (&str, &str) = ("10000", "200000");

fn simulation(long: bool) -> Result<Counts> {
    let mut command = cargo(&[&["test"], EVERYTHING, &["--test=simulation"]].concat());
    command.env("LVS_SIMULATION_SEEDS", if long { SEEDS.1 } else { SEEDS.0 });
    counted(command, 60 * MINUTE)
}

fn documentation(_: bool) -> Result<Counts> {
    let mut command = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    let tests = [&["test"], EVERYTHING, &["--doc"]].concat();
    Ok(counted(command, 20 * MINUTE)?.and(counted(cargo(&tests), 20 * MINUTE)?))
}

fn generated(_: bool) -> Result<Counts> {
    crdgen::crdgen(true)?;
    Ok(Counts {
        passed: 1,
        ..Counts::default()
    })
}

fn chart(_: bool) -> Result<Counts> {
    chart::check()
}

fn in_the_lab(long: bool) -> Result<Counts> {
    setup::programs()?;
    counted(
        lab::command(&lab::Options {
            long,
            ..lab::Options::default()
        }),
        66 * MINUTE,
    )
}
