//! What this process has used so far, by the kernel's files and its own metrics.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent::metrics::Metrics;

/// At one moment.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Seconds of processor time in programs, and in the kernel for them.
    user: f64,
    system: f64,
    /// Seconds in which its thread could have run, and others did: what the machine, and not the checker, makes late.
    waited: f64,
    /// Resident memory in bytes.
    memory: u64,
    passed: u64,
    /// Probes that failed.
    pub(crate) failed: u64,
    /// How many probes began at most so many seconds late.
    late: Vec<(f64, u64)>,
}

/// `USER_HZ`: what proc(5) counts processor time in, on every architecture that we build for.
const TICKS: f64 = 100.0;

impl Seen {
    /// Now.
    ///
    /// # Errors
    /// The kernel's files or the metrics do not say it.
    pub(crate) fn now(metrics: &Metrics) -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let (_, fields) = stat.rsplit_once(") ").context("no fields in stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        // The third field of the file is the first of these; utime and stime are the 14th and 15th.
        let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short stat")?.parse()?) };
        let scheduled = fs::read_to_string("/proc/self/schedstat")?;
        let waited: f64 = scheduled.split(' ').nth(1).context("a short schedstat")?.parse()?;
        let text = metrics.text();
        Ok(Self {
            user: ticks(11)? / TICKS,
            system: ticks(12)? / TICKS,
            waited: waited / 1e9,
            memory: memory()?,
            passed: count(&text, "duration_seconds_count{result=\"passed\"}"),
            failed: count(&text, "duration_seconds_count{result=\"failed\"}"),
            late: buckets(&text),
        })
    }

    /// Prints what was used since `first`, and how much memory since `bare`.
    pub(crate) fn print_since(&self, first: &Self, bare: &Self, wall: Duration) {
        let seconds = wall.as_secs_f64();
        let row = |name: &str, value: String| println!("{name:<28} {value:>10}");
        row("seconds", format!("{seconds:.1}"));
        let probes = self.passed - first.passed;
        row("probes a second", format!("{:.0}", probes as f64 / seconds));
        let share = |used: f64| format!("{:.0} %", used / seconds * 100.0);
        let (user, system) = (self.user - first.user, self.system - first.system);
        row("one processor's share", share(user + system));
        row("  of which in the kernel", share(system));
        row("waited for a processor", share(self.waited - first.waited));
        let late: Vec<(f64, u64)> = self
            .late
            .iter()
            .zip(&first.late)
            .map(|(now, then)| (now.0, now.1 - then.1))
            .collect();
        for (name, part) in [
            ("late, half of them", 0.5),
            ("late, 99 of 100", 0.99),
            ("late, all", 1.0),
        ] {
            row(name, within(&late, part));
        }
        let kib = |bytes: u64| format!("{} KiB", bytes / 1024);
        row("memory without checks", kib(bare.memory));
        row("memory at the beginning", kib(first.memory));
        row("memory at the end", kib(self.memory));
    }
}

/// The bound within which such a part of the probes began.
fn within(late: &[(f64, u64)], part: f64) -> String {
    let all = late.last().map_or(0, |(_, count)| *count);
    let bound = late.iter().find(|(_, count)| *count as f64 >= part * all as f64);
    bound.map_or("?".to_owned(), |(bound, _)| format!("<= {} ms", bound * 1000.0))
}

fn count(text: &str, name: &str) -> u64 {
    let mut lines = text
        .lines()
        .filter_map(|line| line.split_once(name)?.1.trim().parse().ok());
    lines.next().unwrap_or_default()
}

fn buckets(text: &str) -> Vec<(f64, u64)> {
    let lines = text
        .lines()
        .filter_map(|line| line.split_once("lateness_seconds_bucket{le=\""));
    let pairs = lines.filter_map(|(_, rest)| rest.split_once("\"} "));
    pairs
        .filter_map(|(bound, count)| {
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            Some((bound, count.trim().parse().ok()?))
        })
        .collect()
}

fn memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?
        .parse()?;
    Ok(kib * 1024)
}

/// Sockets that this process holds.
///
/// # Errors
/// The kernel does not list them.
pub(crate) fn sockets() -> Result<usize> {
    let files = fs::read_dir("/proc/self/fd")?.flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    Ok(links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count())
}
