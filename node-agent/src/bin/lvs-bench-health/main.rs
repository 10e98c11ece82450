//! Times the health checks: the checker as the agent runs it, with ten thousand TCP checks of one probe a second each, on a
//! thousand addresses of this machine.
//!
//! The listeners are a process of their own, so that what is counted is the checker's: processor, memory, how late
//! probes begin, and what is left when nothing is asked any more. A probe that fails, or a socket that stays, is an error.

mod listeners;
mod seen;

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use health::Pace;
use node_agent::agent::Wake;
use node_agent::checker::{self, Memory};
use node_agent::checks::{Asked, Order};
use node_agent::metrics::Metrics;
use node_agent::probe::{Probe, Target};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::listeners::Listeners;
use crate::seen::{Seen, sockets};

/// Times the health checks.
#[derive(Parser)]
struct Arguments {
    /// How many checks, each of one probe a second.
    #[arg(long, default_value_t = 10_000)]
    checks: u32,
    /// On how many addresses of 127.1.0.0/16.
    #[arg(long, default_value_t = 1000)]
    addresses: u16,
    /// For how many seconds they are watched.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Only listens on so many ports, for the process that probes.
    #[arg(long, hide = true)]
    listen: Option<u16>,
}

/// Before it is watched: every check has its first verdict, and the verdicts are written.
const WARM_UP: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(ports) = arguments.listen {
        return listeners::listen(ports);
    }
    let ports = arguments.checks.div_ceil(u32::from(arguments.addresses.max(1)));
    let listeners = Listeners::start(ports)?;
    // As the agent's: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&arguments, &listeners))
}

/// The checker, and the ends that the agent holds.
struct Running {
    orders: UnboundedSender<Order>,
    said: Receiver<Wake>,
    metrics: Metrics,
    task: JoinHandle<()>,
}

impl Running {
    fn start(memory: Memory) -> Self {
        let metrics = Metrics::default();
        let (orders, ordered) = unbounded_channel();
        let (wake, said) = channel();
        let task = tokio::spawn(checker::run(checker::Parts {
            orders: ordered,
            wake,
            memory,
            metrics: metrics.health.clone(),
            most_at_once: checker::most_at_once(),
        }));
        Self {
            orders,
            said,
            metrics,
            task,
        }
    }

    fn probe(&self, asked: &Asked) -> Result<()> {
        let pace = Pace {
            interval: Duration::from_secs(1),
            ..Pace::default()
        };
        let asked = asked.clone();
        Ok(self.orders.send(Order::Probe { asked, pace })?)
    }

    fn leave(&self, asked: &Asked) -> Result<()> {
        let asked = asked.clone();
        Ok(self.orders.send(Order::Leave { asked })?)
    }
}

async fn measure(arguments: &Arguments, listeners: &Listeners) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("lvs-bench-health-{}", std::process::id()));
    let before = sockets()?;
    let running = Running::start(Memory::read(&folder, "this boot"));
    let bare = Seen::now(&running.metrics)?;
    let asked = asked(arguments, listeners);
    asked.iter().try_for_each(|asked| running.probe(asked))?;
    tokio::time::sleep(WARM_UP).await;
    let (begin, first) = (clock(), Seen::now(&running.metrics)?);
    // A check a second goes and comes back: real servers change, and each time all verdicts are written.
    for asked in asked.iter().cycle().take(usize::try_from(arguments.seconds)?) {
        running.leave(asked)?;
        running.probe(asked)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (wall, last) = (begin.elapsed(), Seen::now(&running.metrics)?);
    asked.iter().try_for_each(|asked| running.leave(asked))?;
    let left = left(before).await?;
    let Running {
        orders,
        said,
        metrics,
        task,
    } = running;
    drop(orders);
    task.await?;
    std::fs::remove_dir_all(&folder)?;
    let (checks, addresses) = (arguments.checks, arguments.addresses);
    println!("{checks} TCP checks of one probe a second, on {addresses} addresses");
    last.print_since(&first, &bare, wall);
    println!("{:<28} {left:>10}", "sockets left");
    let failed = Seen::now(&metrics)?.failed;
    println!("{:<28} {failed:>10}", "failed probes");
    ensure!(failed == 0 && left == 0, "no probe may fail, and no socket be left");
    // One word when a check is found up, and none after; one that came back last may not be yet.
    let (words, all) = (said.try_iter().count(), asked.len());
    let back = usize::try_from(arguments.seconds)?;
    ensure!(
        (all..=all + back).contains(&words),
        "{words} verdicts were said of {all} checks"
    );
    Ok(())
}

/// Sockets beyond those of before, when the checker has had its time to read ten thousand orders.
async fn left(before: usize) -> Result<usize> {
    for _ in 0..20 {
        if sockets()? <= before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(sockets()?.saturating_sub(before))
}

fn asked(arguments: &Arguments, listeners: &Listeners) -> Vec<Asked> {
    let addresses = u32::from(arguments.addresses.max(1));
    let ports = listeners.ports.iter();
    let targets = ports.flat_map(|port| (0..addresses).map(move |number| (number, *port)));
    let asked = targets.map(|(number, port)| Asked {
        probe: Probe::Tcp,
        target: Target {
            address: Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number).into(),
            port,
            source: None,
            mark: None,
            name: None,
        },
        way: None,
    });
    asked.take(arguments.checks as usize).collect()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}
