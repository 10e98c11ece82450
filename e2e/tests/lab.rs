//! Everything that needs the lab. `cargo xtask lab` runs these; by themselves they are ignored.

use std::process::ExitCode;
use std::sync::Arc;

use e2e::lab::Lab;
use e2e::root_image::Suite;
use e2e::scene::{self, Test};
use e2e::settings;
use e2e::shop;
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "lab/cases.rs"]
mod cases;
#[path = "lab/changes.rs"]
mod changes;
#[path = "lab/codec.rs"]
mod codec;
#[path = "lab/confined.rs"]
mod confined;
#[path = "lab/drift.rs"]
mod drift;
#[path = "lab/examples.rs"]
mod examples;
#[path = "lab/faults.rs"]
mod faults;
#[path = "lab/health.rs"]
mod health;
#[path = "lab/itself.rs"]
mod itself;
#[path = "lab/leaving.rs"]
mod leaving;
#[path = "lab/matrix.rs"]
mod matrix;
#[path = "lab/persistence.rs"]
mod persistence;
#[path = "lab/random_sets.rs"]
mod random_sets;
#[path = "lab/reboot.rs"]
mod reboot;
#[path = "lab/refused.rs"]
mod refused;
#[path = "lab/schedulers.rs"]
mod schedulers;
#[path = "lab/security.rs"]
mod security;
#[path = "lab/survival.rs"]
mod survival;
#[path = "lab/traffic.rs"]
mod traffic;

/// A test of a name, and the kernel that it runs on.
type Entry = (Suite, String, Test);

/// Every module's tests, in the order in which they run; those of other kernels last, each guest's together, and the networks
/// of the matrix only in a long run.
fn all() -> Vec<Entry> {
    let usual = [
        itself::TESTS,
        traffic::TESTS,
        examples::TESTS,
        codec::TESTS,
        matrix::BY_HAND,
        matrix::TESTS,
        random_sets::TESTS,
        schedulers::TESTS,
        persistence::TESTS,
        confined::TESTS,
        refused::TESTS,
        security::TESTS,
        changes::TESTS,
        drift::TESTS,
        cases::TESTS,
        health::TESTS,
        leaving::TESTS,
        survival::TESTS,
        reboot::TESTS,
        faults::TESTS,
    ];
    let mut all = on(Suite::default(), &usual.concat());
    let networks = if settings::is_set(settings::LONG) {
        matrix::TESTS
    } else {
        matrix::IN_SHORT
    };
    let others = [codec::TESTS, networks].concat();
    for suite in Suite::ALL.into_iter().filter(|suite| *suite != Suite::default()) {
        let named = on(suite, &others).into_iter();
        all.extend(named.map(|(suite, name, test)| (suite, format!("{}::{name}", suite.name()), test)));
    }
    all
}

fn on(suite: Suite, tests: &[(&str, Test)]) -> Vec<Entry> {
    tests
        .iter()
        .map(|(name, test)| (suite, (*name).to_owned(), *test))
        .collect()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One guest, one control plane, and two processors that emulate two more.
    arguments.test_threads = Some(1);
    let lab = settings::is_set(settings::LAB).then(Lab::new);
    let lab = match lab.transpose() {
        Ok(lab) => lab.map(Arc::new),
        Err(error) => {
            eprintln!("the lab has no folder: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trial = |(suite, name, test): Entry| {
        let used = lab.clone();
        let played = name.clone();
        let run = move || match used {
            Some(lab) => scene::play(&lab, suite, &played, test).map_err(|e| Failed::from(format!("{e:#}"))),
            None => Err(Failed::from("needs the lab: cargo xtask lab")),
        };
        Trial::test(name, run).with_ignored_flag(lab.is_none())
    };
    let trials = all().into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(lab) = lab {
        lab.end();
    }
    conclusion.exit_code()
}
