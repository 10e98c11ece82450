//! Times the programming of IPVS: the agent's whole pass, beside `ipvsadm -R` of the same table, and beside prepared
//! netlink batches as the floor. One contender in each run, because each wants a network namespace of its own in which
//! nothing was deleted yet.
//!
//! It prints a line for each time: contender, what, seconds, messages. `cargo xtask bench` runs it and compares.

mod agent;
mod floor;
mod ipvsadm;
mod scenery;
mod timed;

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Parser, ValueEnum};

use crate::scenery::Scenery;

/// Times the programming of IPVS.
#[derive(Parser)]
struct Arguments {
    /// Who programs.
    #[arg(long)]
    contender: Contender,
    /// How many services.
    #[arg(long, default_value_t = 1000)]
    services: u16,
    /// How many destinations each.
    #[arg(long, default_value_t = 10)]
    destinations: u8,
    /// Consent to flushing the IPVS table of this network namespace.
    #[arg(long)]
    throw_away_namespace: bool,
}

/// Who programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Contender {
    /// The agent's passes.
    Agent,
    /// `ipvsadm`, one process for the whole table.
    Ipvsadm,
    /// The same messages, prepared, with nothing decided and nothing read back.
    Floor,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        contender,
        services,
        destinations,
        throw_away_namespace,
    } = Arguments::parse();
    if !throw_away_namespace {
        bail!("this flushes IPVS: say --throw-away-namespace where nobody needs it (unshare -n)");
    }
    let scenery = Scenery::new(services, destinations);
    match contender {
        Contender::Agent => agent::run(&scenery),
        Contender::Ipvsadm => ipvsadm::run(&scenery),
        Contender::Floor => floor::run(&scenery),
    }
}

/// How often one change is repeated; the median counts.
const CHANGES: u16 = 50;

/// One line of the result.
fn say(contender: &str, what: &str, took: Duration, messages: usize) {
    println!("{contender} {what} {:.6} {messages}", took.as_secs_f64());
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}
