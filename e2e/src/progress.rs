//! Time-stamped lines on every long step, so that a quiet lab is never a puzzle.

use std::sync::LazyLock;
use std::time::Instant;

use anyhow::Result;

use crate::clock;

static BEGIN: LazyLock<Instant> = LazyLock::new(clock::now);

/// Says what is being done, with the seconds since the program began.
pub fn say(what: &str) {
    eprintln!("[{:7.2}s] {what}", BEGIN.elapsed().as_secs_f64());
}

/// Says what is being done, and how long it took.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("{what} …"));
    let begin = clock::now();
    let result = work();
    let end = if result.is_ok() { "done" } else { "FAILED" };
    say(&format!("{what}: {end} after {:.1} s", begin.elapsed().as_secs_f64()));
    result
}
