//! Commands that a person watches: their output goes on, and is counted on its way.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::{clock, settings};

use crate::report::Counts;

/// What every class builds with, so that what one built is there for the others: for Cargo, the same member with other
/// features is another program.
pub(crate) const EVERYTHING: &[&str] = &["--quiet", "--workspace", "--all-features"];

/// Cargo, in this checkout, as it was called.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(settings::checkout()).args(arguments);
    // What this very run was given must not reach what it runs.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command with its output shown; counts the tests in it, or one check when there are none.
///
/// # Errors
/// When it cannot start, or does not end in time. One that fails is counted.
pub(crate) fn counted(mut command: Command, limit: Duration) -> Result<Counts> {
    let shown = format!("{command:?}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| shown.clone())?;
    let output = child.stdout.take().context("no output")?;
    let reader = thread::spawn(move || {
        let mut counts = Counts::default();
        let mut lines = BufReader::new(output).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line).into_owned();
            counts.read(&line);
            // Nobody may be listening any more; the counting goes on.
            drop(writeln!(io::stdout(), "{line}"));
        }
        counts
    });
    let status = ended(&mut child, limit)?;
    let Ok(mut counts) = reader.join() else {
        bail!("reading the output panicked: {shown}")
    };
    if counts.is_empty() && status {
        counts.passed = 1;
    } else if counts.failed == 0 && !status {
        // Tests that passed before something else went wrong do not make it right.
        counts.failed = 1;
    }
    Ok(counts)
}

fn ended(child: &mut Child, limit: Duration) -> Result<bool> {
    let begin = clock::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if begin.elapsed() > limit {
            end_with_children(child.id());
            child.wait()?;
            bail!("it did not end within {limit:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A group of its own would be simpler, but then Ctrl-C would not reach the children.
fn end_with_children(id: u32) {
    let parents = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let process: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok()?;
            Some((process, parent))
        });
    let children: Vec<u32> = parents
        .filter(|(_, parent)| *parent == id)
        .map(|(process, _)| process)
        .collect();
    // By its number, which is ours; a program that just ended needs no signal.
    drop(Command::new("kill").args(["-KILL", &id.to_string()]).status());
    children.into_iter().for_each(end_with_children);
}

/// Runs a command with its output shown, which must succeed.
///
/// # Errors
/// When it fails.
pub(crate) fn shown(mut command: Command) -> Result<()> {
    let shown = format!("{command:?}");
    match command.status().with_context(|| shown.clone())?.success() {
        true => Ok(()),
        false => bail!("failed: {shown}"),
    }
}
