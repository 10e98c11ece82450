//! The guest: one stock kernel under QEMU, and the line to its init.

use std::fs;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::accelerator::{Accelerator, drive, machine};
use crate::process::{HostProcess, Signal, free_port};
use crate::program::{Output, Program};
use crate::protocol::{self, Launch, Reply, Request};
use crate::root_image::{self, RootImage};
use crate::{clock, progress, tools};

const READY: &str = "lab-init: ready";
const PANIC: &str = "Kernel panic";
/// What a kernel says when it is over. The API of a guest that died only stops answering.
const FATAL: &[&str] = &[PANIC, "double fault", "lab-init: the server ended"];
const BOOT_LIMIT: Duration = Duration::from_secs(150);

/// The address under which the guest sees the loopback device of this machine.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A running guest; powered off when dropped.
#[derive(Debug)]
pub struct Guest {
    accelerator: Accelerator,
    process: HostProcess,
    console: PathBuf,
    port: u16,
}

impl Guest {
    /// Boots a guest whose folder `/lab` has copies of `programs`; tries twice.
    ///
    /// # Errors
    /// When it does not come up; the error has the end of its console.
    pub fn boot(image: &RootImage, folder: &Path, programs: &[PathBuf]) -> Result<Self> {
        let accelerator = Accelerator::of_this_machine(image)?;
        let second = programs_disk(folder, programs)?;
        let suite = image.suite.name();
        progress::step(&format!("booting the guest of {suite} ({accelerator:?})"), || {
            let boot = || Self::boot_once(image, accelerator, folder, &second);
            boot().or_else(|error| {
                progress::say(&format!("the guest did not boot, once more: {error:#}"));
                boot()
            })
        })
    }

    fn boot_once(image: &RootImage, accelerator: Accelerator, folder: &Path, second: &Path) -> Result<Self> {
        let console = folder.join("console.log");
        if console.exists() {
            fs::rename(&console, folder.join("console-before.log"))?;
        }
        let port = free_port()?;
        let mut command = machine(image, accelerator, &console, "");
        command.arg("-drive").arg(drive(second));
        let forward = format!("hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:{}", protocol::PORT);
        command.arg("-netdev").arg(format!("user,id=host,{forward}"));
        command.args(["-device", "virtio-net-pci,netdev=host,romfile="]);
        command.args(["-object", "rng-random,id=rng,filename=/dev/urandom"]);
        command.args(["-device", "virtio-rng-pci,rng=rng"]);
        let process = HostProcess::start("qemu", command, &folder.join("qemu.log"))?;
        let guest = Self {
            accelerator,
            process,
            console,
            port,
        };
        clock::until("the guest's init is ready", BOOT_LIMIT, || {
            if let Some(death) = guest.death() {
                // Ends the waiting, too: an error here would be asked again.
                return Ok(Some(Err(death)));
            }
            Ok(guest.console_text().contains(READY).then_some(Ok(())))
        })
        .and_then(|(result, _)| result)
        .with_context(|| format!("its console ended with:\n{}", guest.console_end()))?;
        fs::write(folder.join("port"), port.to_string())?;
        Ok(guest)
    }

    /// The line to a guest that another process of the lab booted with this folder and kept.
    ///
    /// # Errors
    /// When there is none.
    pub fn port_of(folder: &Path) -> Result<u16> {
        let port = fs::read_to_string(folder.join("port")).context("no guest runs there")?;
        port.trim().parse().context("port")
    }

    /// The file with everything that its kernel said.
    #[must_use]
    pub fn console(&self) -> &Path {
        &self.console
    }

    /// The port of the loopback device that leads to its init.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn console_text(&self) -> String {
        tools::text(&fs::read(&self.console).unwrap_or_default())
    }

    fn console_end(&self) -> String {
        let text = self.console_text();
        let lines: Vec<_> = text.lines().rev().take(25).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Why it does not live any more, when it does not.
    #[must_use]
    pub fn death(&self) -> Option<anyhow::Error> {
        let text = self.console_text();
        if let Some(fatal) = FATAL.iter().find(|fatal| text.contains(**fatal)) {
            return Some(anyhow!(
                "the guest's console says `{fatal}`; its end:\n{}",
                self.console_end()
            ));
        }
        match self.process.ended() {
            Ok(None) => None,
            Ok(Some(status)) => Some(anyhow!("QEMU ended: {status}\n{}", self.process.last_words())),
            Err(error) => Some(error),
        }
    }

    /// Whether its processors are made in software.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.accelerator == Accelerator::Tcg
    }

    /// Whether its kernel panicked on an emulated processor. It patches its own code while the other processor runs it, which
    /// QEMU does not always get right; on a real processor a panic is the kernel's, or ours.
    #[must_use]
    pub fn lost_to_emulation(&self) -> bool {
        self.is_emulated() && self.console_text().contains(PANIC)
    }

    /// Runs a program; one that ends with a failure is an answer like any other.
    ///
    /// # Errors
    /// When it cannot be run, or does not end in time.
    pub fn attempt(&self, program: &Program) -> Result<Output> {
        let launch = program.launch.clone();
        let limit = program.timeout;
        let request = Request::Run {
            launch,
            timeout_milliseconds: milliseconds(limit),
        };
        let (reply, payload) = self.request(&request, &program.input, limit)?;
        let (stdout, stderr) = payload.split_at(reply.stdout_bytes.min(payload.len()));
        Ok(Output {
            status: reply.status.unwrap_or(-1),
            stdout: tools::text(stdout),
            stderr: tools::text(stderr),
            took: Duration::from_millis(reply.took_milliseconds),
            clock: Duration::from_millis(reply.clock_milliseconds),
        })
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn run(&self, program: &Program) -> Result<Output> {
        self.attempt(program)?.success(program)
    }

    /// Starts a program that goes on, with its output in the file `log` of the guest.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn(&self, launch: &Launch, log: &str, stamped: bool) -> Result<u32> {
        let request = Request::Spawn {
            launch: launch.clone(),
            log: log.to_owned(),
            stamped,
        };
        Ok(self.short(&request, &[])?.0.pid)
    }

    /// Sends a signal to what `spawn` started; with `group` to its children, too.
    ///
    /// # Errors
    /// When it has ended or was not started by `spawn`.
    pub fn signal(&self, pid: u32, signal: Signal, group: bool) -> Result<()> {
        self.short(
            &Request::Signal {
                pid,
                signal: signal.number(),
                group,
            },
            &[],
        )
        .map(drop)
    }

    /// Waits for the end of what `spawn` started: its exit code, or none when it still runs.
    ///
    /// # Errors
    /// When it was not started by `spawn`.
    pub fn wait(&self, pid: u32, limit: Duration) -> Result<Option<i32>> {
        let request = Request::Wait {
            pid,
            timeout_milliseconds: milliseconds(limit),
        };
        Ok(self.request(&request, &[], limit)?.0.status)
    }

    /// Writes a file in the guest, with its folders.
    ///
    /// # Errors
    /// When it cannot.
    pub fn write(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.short(
            &Request::Write {
                path: path.to_owned(),
                mode,
            },
            content,
        )
        .map(drop)
    }

    /// Reads a file of the guest from `offset` on; one that does not exist is empty.
    ///
    /// # Errors
    /// When it cannot.
    pub fn read(&self, path: &str, offset: u64) -> Result<Vec<u8>> {
        Ok(self
            .short(
                &Request::Read {
                    path: path.to_owned(),
                    offset,
                },
                &[],
            )?
            .1)
    }

    /// The guest's clock, since its boot: that of stamped logs and of every `Output`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn clock(&self) -> Result<Duration> {
        let reply = self.short(&Request::Hello, &[])?.0;
        Ok(Duration::from_millis(reply.clock_milliseconds))
    }

    fn short(&self, request: &Request, payload: &[u8]) -> Result<(Reply, Vec<u8>)> {
        self.request(request, payload, Duration::ZERO)
    }

    fn request(&self, head: &Request, payload: &[u8], limit: Duration) -> Result<(Reply, Vec<u8>)> {
        request(self.port, head, payload, limit).map_err(|error| match self.death() {
            Some(death) => death.context(format!("{error:#}")),
            None => error,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Nothing on its disks is kept, so there is nothing to write back.
        drop(self.process.stop(Signal::Kill, Duration::from_secs(5)));
    }
}

/// One request to the init behind a port.
///
/// # Errors
/// When it is not carried out, or there is no reply for much longer than `limit`.
pub fn request(port: u16, head: &Request, payload: &[u8], limit: Duration) -> Result<(Reply, Vec<u8>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(10)).context("the guest does not accept requests")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit + Duration::from_secs(30)))?;
    protocol::send(&mut stream, head, payload).context("the guest did not take the request")?;
    let (reply, payload) = protocol::receive::<Reply>(&mut BufReader::new(stream))
        .with_context(|| format!("the guest did not answer {head:?}"))?;
    match reply.error {
        Some(error) => bail!("in the guest: {error}"),
        None => Ok((reply, payload)),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The second disk: init and the product, copied anew for each boot.
fn programs_disk(folder: &Path, programs: &[PathBuf]) -> Result<PathBuf> {
    let content = folder.join("programs");
    fs::create_dir_all(&content)?;
    for program in programs {
        let name = program.file_name().context("a program has a name")?;
        fs::copy(program, content.join(name)).with_context(|| program.display().to_string())?;
    }
    let disk = folder.join("programs.img");
    root_image::disk(&content, &disk, "1G")?;
    fs::remove_dir_all(&content)?;
    Ok(disk)
}
