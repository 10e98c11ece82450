//! Everything that needs the lab. `cargo xtask lab` runs these; by themselves they are ignored.

use std::process::ExitCode;
use std::sync::Arc;

use e2e::lab::Lab;
use e2e::scene::{self, Test};
use e2e::settings;
use e2e::shop;
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "lab/changes.rs"]
mod changes;
#[path = "lab/codec.rs"]
mod codec;
#[path = "lab/confined.rs"]
mod confined;
#[path = "lab/drift.rs"]
mod drift;
#[path = "lab/faults.rs"]
mod faults;
#[path = "lab/itself.rs"]
mod itself;
#[path = "lab/reboot.rs"]
mod reboot;
#[path = "lab/refused.rs"]
mod refused;
#[path = "lab/security.rs"]
mod security;
#[path = "lab/survival.rs"]
mod survival;
#[path = "lab/traffic.rs"]
mod traffic;

/// Every module's tests, in the order in which they run.
fn all() -> Vec<(&'static str, Test)> {
    [
        itself::TESTS,
        traffic::TESTS,
        codec::TESTS,
        confined::TESTS,
        refused::TESTS,
        security::TESTS,
        changes::TESTS,
        drift::TESTS,
        survival::TESTS,
        reboot::TESTS,
        faults::TESTS,
    ]
    .concat()
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
    let trial = |(name, test): (&'static str, Test)| {
        let used = lab.clone();
        let run = move || match used {
            Some(lab) => scene::play(&lab, name, test).map_err(|e| Failed::from(format!("{e:#}"))),
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
