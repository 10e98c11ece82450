//! The one place where the lab reads a clock.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the lab measures real programs in real time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "run folders are named by when they were made")]
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// First and longest pause between two questions: most cost the guest a process, and it has other work.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));

/// Asks again until there is an answer, and says how long that took.
///
/// # Errors
/// When there is none in time: the last reason that `ask` gave, or its last error.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<(T, Duration)> {
    let begin = now();
    let mut pause = PAUSES.0;
    loop {
        let answer = ask();
        let waited = begin.elapsed();
        match answer {
            Ok(Some(answer)) => return Ok((answer, waited)),
            Ok(None) if waited > limit => bail!("after {waited:.1?} still not: {what}"),
            Err(error) if waited > limit => {
                return Err(error.context(format!("after {waited:.1?} still not: {what}")));
            }
            Ok(None) | Err(_) => {
                thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}
