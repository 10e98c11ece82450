//! Programs of the guest that go on: agents, nginx, tcpdump.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::guest::Guest;
use crate::process::Signal;
use crate::program::Program;
use crate::{clock, tools};

/// The folder of the guest with the output of every program.
pub const LOGS: &str = "/tmp/logs";

/// A program in the guest that goes on; it and its children end when this is dropped.
#[derive(Debug)]
pub struct GuestProcess {
    guest: Arc<Guest>,
    /// Its process id in the guest.
    pub pid: u32,
    /// The file of the guest that has its output.
    pub log: String,
    /// Where its own output begins in that file: an earlier program of the same name wrote before it.
    begin: u64,
}

impl GuestProcess {
    /// Starts a program; `log` is the name of its log among the others.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start(guest: &Arc<Guest>, program: &Program, log: &str, stamped: bool) -> Result<Self> {
        let log = format!("{LOGS}/{log}.log");
        let begin = guest.read(&log, 0).map_or(0, |earlier| earlier.len() as u64);
        let pid = guest.spawn(&program.launch, &log, stamped)?;
        Ok(Self {
            guest: guest.clone(),
            pid,
            log,
            begin,
        })
    }

    /// All of its output until now.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn output(&self) -> Result<String> {
        Ok(tools::text(&self.guest.read(&self.log, self.begin)?))
    }

    /// Waits until it has said `text`.
    ///
    /// # Errors
    /// When it does not, or ends before.
    pub fn wait_for(&self, text: &str, limit: Duration) -> Result<()> {
        let said = clock::until(text, limit, || {
            let said = self.output()?;
            let found = said.contains(text);
            let ended = !found && self.ended(Duration::ZERO)?.is_some();
            Ok((found || ended).then_some((found, said)))
        });
        match said {
            Ok(((true, _), _)) => Ok(()),
            Ok(((false, said), _)) => bail!("it ended without `{text}`: {said}"),
            Err(error) => Err(error.context(format!("{} did not say it", self.log))),
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.guest.signal(self.pid, signal, false)
    }

    /// Waits for its end: the exit code, or none when it goes on.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn ended(&self, limit: Duration) -> Result<Option<i32>> {
        self.guest.wait(self.pid, limit)
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&self, signal: Signal) -> Result<i32> {
        if let Some(status) = self.ended(Duration::ZERO)? {
            return Ok(status);
        }
        self.signal(signal)?;
        let status = self.ended(Duration::from_secs(20))?;
        status.with_context(|| format!("{} does not end by {signal:?}", self.log))
    }
}

impl Drop for GuestProcess {
    fn drop(&mut self) {
        // What has ended leaves nothing to end; a guest that died ended everything.
        drop(self.guest.signal(self.pid, Signal::Kill, true));
    }
}
