//! `cargo xtask`: everything that is done to this repository, each by one command.

mod bench;
mod chart;
mod classes;
mod crdgen;
mod demo;
mod lab;
mod look;
mod purity;
mod report;
mod run;
mod setup;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::root_image::Suite;

/// Builds, tests and shows lvs-operator.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs, builds and caches everything that the lab needs
    Setup,
    /// Runs the lab's tests: all, or those whose name contains FILTER
    Lab {
        /// A part of the names
        filter: Option<String>,
        /// After each test leave things as they are, say how to look, and wait for Enter
        #[arg(long)]
        keep: bool,
        /// More random sequences
        #[arg(long)]
        long: bool,
        /// Write e2e/MATRIX.md by what the run finds, instead of comparing it
        #[arg(long)]
        write: bool,
        /// Only say which tests there are
        #[arg(long)]
        list: bool,
    },
    /// Runs everything there is to check, and says how much of each class ran
    Test {
        /// More seeds and more random sequences
        #[arg(long)]
        long: bool,
        /// Only the classes whose name contains this
        #[arg(long)]
        class: Option<String>,
    },
    /// Tells the story: manifests, answers, a repair, the clean-up
    Demo,
    /// Compares the programming of IPVS with ipvsadm's and with prepared netlink batches
    Bench {
        /// Instead, what ten thousand TCP health checks a second take on this machine
        #[arg(long)]
        health: bool,
    },
    /// Writes the CRDs of the chart anew
    Crdgen {
        /// Only say whether they are up to date
        #[arg(long)]
        check: bool,
    },
    /// Writes the golden renders of the chart anew
    Golden {
        /// Only say whether they are up to date
        #[arg(long)]
        check: bool,
    },
    /// Runs a program on a host of a lab that was kept: cargo xtask exec dir1 -- ipvsadm -Ln
    Exec {
        /// The host; `-` is the guest itself
        host: String,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
    /// Runs the kubectl of a lab that was kept
    Kubectl {
        /// What kubectl takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::setup(&Suite::ALL),
        Task::Lab {
            filter,
            keep,
            long,
            write,
            list,
        } => lab::lab(&lab::Options {
            filter,
            keep,
            long,
            write,
            list,
        }),
        Task::Test { long, class } => classes::test(long, class.as_deref()),
        Task::Demo => demo::demo(),
        Task::Bench { health: false } => bench::bench(),
        Task::Bench { health: true } => bench::health(),
        Task::Crdgen { check } => crdgen::crdgen(check),
        Task::Golden { check } => chart::golden(check),
        Task::Exec { host, program } => look::exec(&host, program),
        Task::Kubectl { arguments } => look::kubectl(&arguments),
    };
    ended(result)
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
