//! tcpdump on a link of a host: packets to count and to read.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::guest_process::GuestProcess;
use crate::process::Signal;
use crate::program::Program;
use crate::topology::Host;

/// The device of each host that shows its netlink messages.
pub const NLMON: &str = "nlmon0";

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
        // Packets reach the file at once; root stays root, it owns the file. Every place in the
        // kernel's buffer is as big as the biggest packet, so the default of both holds eight.
        let room = if link == NLMON {
            "-s 65535 -B 65536"
        } else {
            "-s 2048 -B 8192"
        };
        let line = format!("tcpdump -i {link} -n {room} -U --immediate-mode -Z root -w {file}");
        let program = Program::new(line.split(' ').chain(filter.split_whitespace()));
        let process = host.start(program, &format!("tcpdump-{link}-{clock}"), false)?;
        process.wait_for("listening on", Duration::from_secs(20))?;
        Ok(Self { host, process, file })
    }

    /// Ends it; what was captured stays.
    ///
    /// # Errors
    /// When tcpdump does not end, or the kernel had no room for a packet.
    pub fn stop(self) -> Result<Packets<'a>> {
        // What has happened is in the kernel's buffer; a signal makes tcpdump leave it there.
        thread::sleep(Duration::from_millis(200));
        self.process.stop(Signal::Interrupt)?;
        let said = self.process.output()?;
        let dropped = said
            .lines()
            .find_map(|line| line.strip_suffix(" packets dropped by kernel"));
        let dropped = dropped.context("tcpdump does not say how many packets it missed")?;
        ensure!(
            dropped.trim() == "0",
            "tcpdump missed {dropped} packets on {}",
            self.host.name
        );
        Ok(Packets {
            host: self.host,
            file: self.file.clone(),
        })
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
