//! tcpdump on a link of a host: packets to count and to read.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest_process::GuestProcess;
use crate::process::Signal;
use crate::program::Program;
use crate::topology::Host;

/// A running tcpdump; it ends when dropped.
#[derive(Debug)]
pub struct Capture<'a> {
    host: &'a Host,
    process: GuestProcess,
    file: String,
}

impl<'a> Capture<'a> {
    /// Starts it on a link, with a filter of tcpdump's language; returns when it listens.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(host: &'a Host, link: &str, filter: &str) -> Result<Self> {
        let clock = host.guest().clock()?.as_millis();
        let file = format!("/tmp/captures/{}-{link}-{clock}.pcap", host.name);
        host.guest().write(&file, 0o666, b"")?;
        // Packets reach the file at once and whole; root stays root, it owns the file.
        let line = format!("tcpdump -i {link} -n -s 0 -U --immediate-mode -Z root -w {file}");
        let program = Program::new(line.split(' ').chain(filter.split_whitespace()));
        let process = host.start(program, &format!("tcpdump-{link}-{clock}"), false)?;
        process.wait_for("listening on", Duration::from_secs(20))?;
        Ok(Self { host, process, file })
    }

    /// Ends it; what was captured stays.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn stop(self) -> Result<Packets<'a>> {
        self.process.stop(Signal::Interrupt)?;
        Ok(Packets { host: self.host, file: self.file.clone() })
    }
}

/// Captured packets.
#[derive(Debug)]
pub struct Packets<'a> {
    host: &'a Host,
    file: String,
}

impl Packets<'_> {
    /// The packets that a filter takes, a line each as tcpdump prints them, with MAC addresses.
    ///
    /// # Errors
    /// When tcpdump does not know the filter.
    pub fn lines(&self, filter: &str) -> Result<Vec<String>> {
        let line = format!("tcpdump -e -n -tt -Z root -r {}", self.file);
        let program = Program::new(line.split(' ').chain(filter.split_whitespace()));
        let output = self.host.program(program)?;
        Ok(output.stdout.lines().map(str::to_owned).collect())
    }

    /// How many packets a filter takes.
    ///
    /// # Errors
    /// When tcpdump does not know the filter.
    pub fn count(&self, filter: &str) -> Result<usize> {
        Ok(self.lines(filter)?.len())
    }

    /// The file itself, in pcap format.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.host.guest().read(&self.file, 0).context("a capture")
    }
}
