//! Everything that is made once: packages, the guest's disk, Go programs, our own programs.

use std::{fs, thread};

use anyhow::{Result, anyhow, bail};
use e2e::accelerator::Accelerator;
use e2e::product::{KERNEL_TESTS, PROFILE};
use e2e::root_image::{self, Suite};
use e2e::{go_tools, progress, settings, tools};
use serde_json::Value;

use crate::run::{EVERYTHING, cargo, shown};

/// All of it; the big Go build runs beside the rest.
pub(crate) fn setup(suites: &[Suite]) -> Result<()> {
    progress::step("setting the lab up", || {
        thread::scope(|scope| {
            let fetched = scope.spawn(|| fetched(suites));
            let built = programs();
            fetched.join().unwrap_or_else(|_| Err(anyhow!("the set-up panicked")))?;
            built
        })
    })
}

/// What is not made of this repository's Rust.
pub(crate) fn fetched(suites: &[Suite]) -> Result<()> {
    thread::scope(|scope| {
        let go = scope.spawn(|| go_tools::kubernetes().and_then(|_| go_tools::helm()));
        tools::ensure()?;
        // Fetching and unpacking waits for others half of the time.
        let guest = |suite| root_image::root_image(suite).and_then(|image| Accelerator::of_this_machine(&image));
        let guests: Vec<_> = suites.iter().map(|suite| scope.spawn(move || guest(*suite))).collect();
        go.join().unwrap_or_else(|_| Err(anyhow!("the Go build panicked")))?;
        for (suite, guest) in suites.iter().zip(guests) {
            let accelerator = guest
                .join()
                .unwrap_or_else(|_| Err(anyhow!("making the guest panicked")))?;
            progress::say(&format!("the processor of {}'s guest: {accelerator:?}", suite.name()));
        }
        Ok(())
    })
}

/// Operator, agent and the guest's init.
pub(crate) fn programs() -> Result<()> {
    progress::step("building the product", || {
        kernel_tests()?;
        // Last, and with no more features than it is shipped with: the agent that is tested has no fake kernel in it.
        let packages = ["--package=operator", "--package=node-agent", "--package=e2e", "--bins"];
        let build = ["build", "--quiet", "--profile", PROFILE];
        shown(cargo(&[&build[..], &packages].concat()))
    })
}

/// The agent's tests that need a real kernel: one program, which runs in the guest. The programs of its package come along,
/// the player among them.
fn kernel_tests() -> Result<()> {
    let build = [
        &["test"],
        EVERYTHING,
        &[
            "--no-run",
            "--profile",
            PROFILE,
            "--message-format=json",
            "--test=kernel",
        ],
    ]
    .concat();
    let output = cargo(&build).output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let made = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut tests = made.filter(|message| message["target"]["name"] == "kernel");
    let program = tests.find_map(|message| message["executable"].as_str().map(str::to_owned));
    let Some(program) = program.filter(|_| output.status.success()) else {
        bail!(
            "the kernel's tests do not build: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let folder = settings::target().join(if PROFILE == "dev" { "debug" } else { PROFILE });
    fs::copy(program, folder.join(KERNEL_TESTS))?;
    Ok(())
}
