//! A real server that leaves under each scheduler: nobody is refused while it drains, and nobody new meets it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use e2e::endpoint::Endpoint;
use e2e::scene::Scene;
use e2e::topology::Host;
use e2e::traffic::{self, Answers, Held};

use super::{SCHEDULERS, chosen, endpoint, sources, vip};
use crate::shop::{self, LIMIT};

const LEAVING: &str = "rs1";
/// On each service; as many as real servers, so that the one that leaves has some by nearly every rule.
const KEPT: u32 = 3;

/// Its connections by scheduler, and whose they are.
type Connections = BTreeMap<&'static str, (Held, Answers)>;

pub(super) fn refuses_nobody(scene: &Scene, client: &Host) -> Result<()> {
    shop::patch(scene, &format!("realserver/{LEAVING}"), r#"{"weight":3}"#)?;
    let director = scene.host("dir1")?;
    shop::table(&director, "it serves everywhere", |lines| {
        of_leaving(lines).all(|line| line.ends_with("-w 3"))
    })?;
    let connections = opened(client)?;
    let drains = |scheduler: &str| connections[scheduler].1.of(LEAVING) > 0 && scheduler != "dh";
    let expected = SCHEDULERS.into_iter().filter(|scheduler| drains(scheduler)).count();
    // twos draws, and lblc stays with whom it took first, while that one has room: both may have others alone. What hashes was
    // asked for a client of its own.
    let mut certain = SCHEDULERS
        .into_iter()
        .filter(|scheduler| !["dh", "twos", "lblc"].contains(scheduler));
    let without = certain.find(|scheduler| !drains(scheduler));
    ensure!(without.is_none(), "it has no connection of {without:?}");

    let is_over = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let asking = scope.spawn(|| asked_until(client, &is_over));
        let left = left(scene, &director, expected);
        is_over.store(true, Ordering::Relaxed);
        let answers = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        left.map(|()| answers)
    })?;
    // Under dh nothing drains: who is being answered when the real server goes is cut.
    let of_dh = endpoint(vip("dh"))?;
    let failed: Vec<_> = answers
        .iter()
        .filter(|(at, answers)| **at != of_dh && !answers.failed.is_empty())
        .collect();
    ensure!(failed.is_empty(), "refused while it left: {failed:?}");

    let sources: Vec<_> = sources().into_iter().take(4).collect();
    for (scheduler, (held, _)) in &connections {
        let at = endpoint(vip(scheduler))?;
        let new = traffic::ask_from(client, &sources, &[(at, 1)])?
            .remove(&at)
            .unwrap_or_default();
        new.expect_all()?;
        ensure!(new.total() == sources.len(), "{scheduler}: {new}");
        ensure!(new.of(LEAVING) == 0, "{scheduler}: somebody new met {LEAVING}: {new}");
        if *scheduler != "dh" {
            held.all_answer(LIMIT)?;
        }
    }
    scene.step(&format!(
        "{LEAVING} drains under {expected} of {} schedulers: 0 of {} requests refused meanwhile, and its connections go on",
        SCHEDULERS.len(),
        answers.values().map(Answers::total).sum::<usize>()
    ));
    Ok(())
}

fn of_leaving(lines: &[String]) -> impl Iterator<Item = &String> {
    lines.iter().filter(|line| line.contains("-r 192.168.56.30:"))
}

fn opened(client: &Host) -> Result<Connections> {
    let sources = sources();
    let mut connections = Connections::new();
    for scheduler in SCHEDULERS {
        let mut from = None;
        if matches!(scheduler, "sh" | "mh") {
            let chosen = chosen(client, &sources, vip(scheduler))?;
            from = chosen.into_iter().find(|(_, server)| server == LEAVING);
            ensure!(
                from.is_some(),
                "{scheduler}: {LEAVING} has no client of {}",
                sources.len()
            );
        }
        let from = from.as_ref().map(|(client, _)| client.as_str());
        let opened = Held::open_from(client, from, &endpoint(vip(scheduler))?, KEPT)?;
        connections.insert(scheduler, opened);
    }
    Ok(connections)
}

/// Deletes the real server, and waits until nobody new goes to it: weight 0 where it has connections, gone where not.
fn left(scene: &Scene, director: &Host, expected: usize) -> Result<()> {
    let line = ["-n", "shop", "delete", &format!("realserver/{LEAVING}"), "--wait=false"];
    scene.control_plane().kubectl(&line, None)?;
    let what = format!("it drains under {expected} schedulers, and is gone from the others");
    shop::table(director, &what, |lines| {
        of_leaving(lines).count() == expected && of_leaving(lines).all(|line| line.ends_with("-w 0"))
    })
    .map(drop)
}

/// Asks every service, again and again, once more after it was told that it is over.
fn asked_until(client: &Host, is_over: &AtomicBool) -> Result<BTreeMap<Endpoint, Answers>> {
    let wanted: Vec<(Endpoint, u32)> = SCHEDULERS
        .iter()
        .map(|scheduler| Ok((endpoint(vip(scheduler))?, 3)))
        .collect::<Result<_>>()?;
    let mut all: BTreeMap<Endpoint, Answers> = BTreeMap::new();
    loop {
        let is_last = is_over.load(Ordering::Relaxed);
        for (at, answers) in traffic::ask(client, &wanted)? {
            let sum = all.entry(at).or_default();
            sum.failed.extend(answers.failed);
            for (server, number) in answers.by_server {
                *sum.by_server.entry(server).or_default() += number;
            }
        }
        if is_last {
            return Ok(all);
        }
    }
}
