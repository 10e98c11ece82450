//! `cargo xtask lab`.

use std::process::Command;

use anyhow::Result;
use e2e::root_image::Suite;
use e2e::settings;

use crate::run::{EVERYTHING, cargo, shown};
use crate::setup;

/// What the caller wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// A part of the names.
    pub(crate) filter: Option<String>,
    /// Wait for a person after each test.
    pub(crate) keep: bool,
    /// More random sequences.
    pub(crate) long: bool,
    /// Write what a run generates.
    pub(crate) write: bool,
    /// Only say which tests there are.
    pub(crate) list: bool,
}

/// Runs the lab's tests.
pub(crate) fn lab(options: &Options) -> Result<()> {
    if !options.list {
        // Some tests alone may not need the others; a test that does makes its own.
        let all: &[Suite] = if options.filter.is_some() {
            &[Suite::default()]
        } else {
            &Suite::ALL
        };
        setup::setup(all)?;
    }
    shown(command(options))
}

/// The command that runs them.
pub(crate) fn command(options: &Options) -> Command {
    let mut command = cargo(&[&["test"], EVERYTHING, &["--test=lab", "--"]].concat());
    command.env(settings::LAB, "1").args(&options.filter);
    if options.keep {
        command.env(settings::KEEP, "1");
    }
    if options.long {
        command.env(settings::LONG, "1");
    }
    if options.write {
        command.env(settings::WRITE, "1");
    }
    if options.list {
        command.arg("--list");
    }
    command
}
