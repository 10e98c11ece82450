//! The disturbances, one after the other under the eyes of clients, and the table of what became of each.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::oracle::{self, Healing};
use e2e::scene::Scene;
use e2e::traffic::{Answers, Failure, RunningClient};

use super::Client;
use super::rows::{Row, WORDS};
use crate::shop::LIMIT;

/// The next disturbance is another's doing, not the same breath.
const APART: Duration = Duration::from_millis(300);
/// As long as a client waits for an answer: a request that was cut says nothing before.
const PATIENCE: Duration = Duration::from_secs(6);
const PER_SECOND: u32 = 8;

/// A row that was played.
pub(crate) struct Played {
    row: Row,
    healing: Healing,
    failed: Vec<(Client, usize)>,
}

/// Clients of every way, all the time.
pub(crate) struct Clients(Vec<(Client, RunningClient)>);

impl Clients {
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        let host = scene.host("client")?;
        let start = |client: Client| Ok((client, RunningClient::start(&host, client.url(), PER_SECOND)?));
        Client::ALL.into_iter().map(start).collect::<Result<_>>().map(Self)
    }

    fn stop(self) -> Result<Vec<(Client, Answers)>> {
        thread::sleep(PATIENCE);
        self.0
            .into_iter()
            .map(|(client, running)| Ok((client, running.stop()?)))
            .collect()
    }
}

pub(crate) fn play(scene: &Scene, rows: Vec<Row>) -> Result<Vec<Played>> {
    let mut played = Vec::new();
    for row in rows {
        let host = scene.host(row.host)?;
        let disturb = format!("{WORDS}\n{}", row.by);
        let healing = oracle::healing(&host, &disturb, &row.healed, LIMIT)
            .with_context(|| format!("{} on {}: {}", row.kind, row.host, row.by))?;
        scene.step(&format!(
            "{:>6.2?} of {:?}  {}: {}",
            healing.took, row.within, row.host, row.by
        ));
        played.push(Played {
            row,
            healing,
            failed: Vec::new(),
        });
        thread::sleep(APART);
    }
    Ok(played)
}

/// Ends the clients, prints the table, and judges it.
pub(crate) fn judged(scene: &Scene, mut played: Vec<Played>, clients: Clients) -> Result<()> {
    for (client, answers) in clients.stop()? {
        scene.step(&format!("a client by {}, all the time: {answers}", client.name()));
        ensure!(
            !answers.by_server.is_empty(),
            "no request by {} was answered",
            client.name()
        );
        for failure in &answers.failed {
            let row = blamed(&played, client, failure).context("a request failed before anything was disturbed")?;
            match played[row].failed.iter_mut().find(|(other, _)| *other == client) {
                Some((_, count)) => *count += 1,
                None => played[row].failed.push((client, 1)),
            }
        }
    }
    scene.step("| kind | host | how | within | repaired after | failed requests |");
    scene.step("|---|---|---|---|---|---|");
    played.iter().for_each(|played| scene.step(&played.line()));
    let wrong: Vec<_> = played
        .iter()
        .filter(|played| !played.is_right())
        .map(Played::line)
        .collect();
    ensure!(
        wrong.is_empty(),
        "too slow, or noticed by who should not:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

/// The disturbance during which a request failed: one that cuts its way, else the first that it met, else the last before it.
fn blamed(played: &[Played], client: Client, failure: &Failure) -> Option<usize> {
    let end = Duration::from_millis(failure.clock_milliseconds);
    let begin = end.saturating_sub(Duration::from_millis(failure.waited_milliseconds));
    let meets = |played: &Played| played.healing.begin <= end && begin <= played.healing.end;
    let cuts = |played: &Played| meets(played) && played.row.cut.contains(&client);
    let met = played.iter().position(cuts).or_else(|| played.iter().position(meets));
    met.or_else(|| played.iter().rposition(|played| played.healing.begin <= begin))
}

impl Played {
    fn is_right(&self) -> bool {
        let Self { row, healing, failed } = self;
        healing.took <= row.within && failed.iter().all(|(client, _)| row.cut.contains(client))
    }

    fn line(&self) -> String {
        let Self { row, healing, failed } = self;
        let by = row.by.split_whitespace().collect::<Vec<_>>().join(" ");
        let failed: Vec<_> = failed
            .iter()
            .map(|(client, count)| format!("{count} by {}", client.name()))
            .collect();
        let cut: Vec<_> = row.cut.iter().map(|client| client.name()).collect();
        let cut = match cut[..] {
            [] => String::new(),
            _ => format!(" (cut: {})", cut.join(", ")),
        };
        let failed = if failed.is_empty() {
            "0".to_owned()
        } else {
            failed.join(", ")
        };
        format!(
            "| {} | {} | `{by}` | {:.1} s | {:.2} s | {failed}{cut} |",
            row.kind,
            row.host,
            row.within.as_secs_f64(),
            healing.took.as_secs_f64(),
        )
    }
}
