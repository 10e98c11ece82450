//! The agent's passes: decide, write the ledger, program, read back, report.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use node_agent::kernel::linux::{Linux, LinuxOptions};
use node_agent::ledger::{Entry, Ledger};
use node_agent::pass::{Node, Reach};
use node_agent::serving::Now;

use crate::scenery::Scenery;
use crate::timed::Timed;
use crate::{CHANGES, clock, median, say};

pub(crate) fn run(scenery: &Scenery) -> Result<()> {
    let linux = Linux::open(LinuxOptions {
        proc_sys_net: "/proc/sys/net".into(),
    });
    let journal: Vec<Entry> = Vec::new();
    let mut node = Node::new(Timed::new(linux), journal, Ledger::default(), "boot".to_owned());
    node.see(scenery.view()?);
    whole(&mut node, "programming", scenery)?;

    // The audit of the first half minute: it learns the order in which the kernel holds the services.
    node.audit(30);
    node.kernel().take();
    let flushed = Command::new("ipvsadm").arg("-C").status().context("ipvsadm")?;
    ensure!(flushed.success(), "ipvsadm -C failed");
    let begin = clock();
    ensure!(node.ipvs_differs(), "the flush was not noticed");
    let noticed = begin.elapsed();
    whole(&mut node, "repair", scenery)?;
    say("agent", "look", noticed, 1);

    let mut times = Vec::new();
    let mut messages = Vec::new();
    for round in 0..CHANGES {
        let number = round * (scenery.services / CHANGES);
        let placed = scenery.placed(number, i32::from(round) + 2)?;
        let begin = clock();
        node.place(Scenery::placement(number), Some(placed));
        let outcome = node.pass(Now::default())?;
        times.push(begin.elapsed());
        let (kernel, reach) = (node.kernel().take(), outcome.reach);
        ensure!(reach == Reach::Changes && outcome.done.len() == 1 && !outcome.unfinished);
        messages.push(kernel.changes + kernel.reads);
    }
    ensure!(messages.iter().all(|count| count == &messages[0]), "{messages:?}");
    say("agent", "weight", median(times), messages[0]);
    Ok(())
}

/// A whole pass, and how much of it is the programming.
fn whole(node: &mut Node<Timed<Linux>, Vec<Entry>>, what: &str, scenery: &Scenery) -> Result<()> {
    let begin = clock();
    let outcome = node.pass(Now::default())?;
    let took = begin.elapsed();
    ensure!(
        outcome.done.len() == scenery.entries() && outcome.refusals.is_empty() && !outcome.unfinished,
        "{} of {} changes, {} refused",
        outcome.done.len(),
        scenery.entries(),
        outcome.refusals.len()
    );
    let kernel = node.kernel().take();
    say("agent", what, kernel.applying, kernel.changes);
    say("agent", &format!("{what}-reading"), kernel.reading, kernel.reads);
    say("agent", &format!("{what}-whole"), took, kernel.changes + kernel.reads);
    Ok(())
}
