//! Programs on this machine that go on: etcd, the API server, QEMU, the operator.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;

/// Signals that the lab sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end.
    Terminate,
    /// Ends it at once.
    Kill,
    /// As Ctrl-C does; ends tcpdump with its files complete.
    Interrupt,
    /// Freezes it.
    Stop,
    /// Lets it go on.
    Continue,
}

impl Signal {
    /// The kernel's number for it.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Interrupt => libc::SIGINT,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }
}

/// A program that we started; it ends when this is dropped.
#[derive(Debug)]
pub struct HostProcess {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
}

impl HostProcess {
    /// Starts a program with its output appended to `log`.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        fs::create_dir_all(log.parent().context("a log file needs a folder")?)?;
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = spawn(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child: Mutex::new(child),
        })
    }

    /// The file with its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.lock().id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(self.lock().try_wait()?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    #[expect(unsafe_code, reason = "std can only send SIGKILL")]
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.lock();
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended: {status}", self.name);
        }
        let pid = i32::try_from(child.id())?;
        // SAFETY: takes no pointer; the child is not reaped yet, so the id is still its own.
        match unsafe { libc::kill(pid, signal.number()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()).with_context(|| format!("{signal:?} {pid}")),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} has ended", self.name);
        Ok(clock::until(&what, limit, || self.ended())?.0)
    }

    /// Sends a signal and waits for the end, which is forced after `limit`.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn stop(&self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(signal)?;
        self.wait(limit).or_else(|_| {
            self.lock().kill()?;
            self.wait(limit)
        })
    }

    /// The end of its output, for an error message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Frozen programs only act on SIGKILL; those that ended by themselves need nothing.
        drop(self.stop(Signal::Terminate, Duration::from_secs(5)));
    }
}

/// Starts every program from one thread that never ends: the kernel ends a program with the
/// *thread* that started it, and we want it to end with the whole lab, also a killed one.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static ORDERS: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                end_with_this_thread(&mut command);
                drop(answer.send(command.spawn()));
            }
        });
        Mutex::new(sender)
    });
    let (sender, answer) = mpsc::channel();
    let sent = orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, sender));
    sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
    answer.recv().map_err(|_| io::ErrorKind::BrokenPipe)?
}

#[expect(unsafe_code, reason = "prctl(2) between fork and exec")]
fn end_with_this_thread(command: &mut Command) {
    // SAFETY: one system call without memory or locks.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// A TCP port of the loopback device that is free now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
