//! `e2e/MATRIX.md`: what the runs found, and whether it says what this run found.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::settings;

use super::evidence::Evidence;
use super::rows::Cell;
use super::steps::Step;

/// The file, generated whole.
fn file() -> PathBuf {
    settings::checkout().join("e2e/MATRIX.md")
}

/// A cell's line: its evidence, and its verdicts in the order of the steps.
pub(crate) struct Line {
    pub(crate) cell: Cell,
    pub(crate) evidence: Evidence,
    pub(crate) verdicts: Vec<(Step, Result<(), String>)>,
}

impl Line {
    /// The steps that went wrong.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> + '_ {
        let failed = self
            .verdicts
            .iter()
            .filter_map(|(step, verdict)| Some((step, verdict.as_ref().err()?)));
        failed.map(|(step, why)| format!("{} | {}: {why}", self.cell, step.name()))
    }

    fn text(&self) -> String {
        let Evidence {
            servers,
            client,
            neighbour,
            last_hops,
            through_director,
        } = &self.evidence;
        let through = if *through_director { "yes" } else { "no" };
        let verdict = |(_, verdict): &(Step, Result<(), String>)| match verdict {
            Ok(()) => "✓".to_owned(),
            Err(why) => why.replace(['|', '\n'], " "),
        };
        let verdicts: Vec<_> = self.verdicts.iter().map(verdict).collect();
        format!(
            "| {} | {servers} | {client} | {neighbour} | {last_hops} | {through} | {} |\n",
            self.cell,
            verdicts.join(" | ")
        )
    }
}

/// The block of one network on one kernel, as it stands in the file.
fn block(title: &str, lines: &[Line]) -> String {
    let steps: Vec<_> = lines
        .first()
        .into_iter()
        .flat_map(|line| &line.verdicts)
        .map(|(step, _)| step.name())
        .collect();
    let head = format!(
        "| method | family | protocol | answered by | client as servers see it | ARP or ND for the VIP | handed over by | through the director | {} |",
        steps.join(" | ")
    );
    let rule = "|---".repeat(8 + steps.len());
    let rows: String = lines.iter().map(Line::text).collect();
    format!("## {title}\n\n{head}\n{rule}|\n{rows}")
}

/// Compares the block with the file's, or puts it there when a person asked for that.
pub(crate) fn checked(title: &str, lines: &[Line]) -> Result<()> {
    let fresh = block(title, lines);
    let text = fs::read_to_string(file()).unwrap_or_default();
    let heading = format!("## {title}\n");
    let begin = text.find(&heading);
    let old = begin.map(|begin| {
        let rest = &text[begin..];
        let end = rest[heading.len()..]
            .find("\n## ")
            .map_or(rest.len(), |end| heading.len() + end + 1);
        &rest[..end]
    });
    if old.map(str::trim_end) == Some(fresh.trim_end()) {
        return Ok(());
    }
    ensure!(
        settings::is_set(settings::WRITE),
        "e2e/MATRIX.md does not say what this run found; `cargo xtask lab --write matrix` writes it:\n{fresh}"
    );
    let text = match old {
        Some(old) => text.replace(old.trim_end(), fresh.trim_end()),
        None => format!("{}\n\n{}", text.trim_end(), fresh),
    };
    fs::write(file(), text).context("e2e/MATRIX.md")
}
