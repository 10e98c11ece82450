//! From a `Launch` to a `Command` that enters its namespaces between fork and exec.
//!
//! `ip netns exec` would do the same for one more exec, which costs some 50 ms where the
//! processor is emulated.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use anyhow::{Context, Result};
use e2e::protocol::{Launch, Mount};

/// Where programs are looked for in the guest.
pub(crate) const PATH: &str = "/lab:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the command; it leads a session of its own, so that its children can be ended with it.
pub(crate) fn command(launch: &Launch) -> Result<Command> {
    let (program, arguments) = launch.argv.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .envs(&launch.env);
    command.current_dir(launch.cwd.as_deref().unwrap_or("/"));
    let netns = match &launch.netns {
        Some(name) => Some(
            File::open(Path::new("/run/netns").join(name)).with_context(|| format!("no network namespace {name}"))?,
        ),
        None => None,
    };
    let mounts = launch.mounts.iter().map(prepared).collect::<Result<Vec<_>>>()?;
    before_exec(&mut command, move || {
        new_session()?;
        if let Some(netns) = &netns {
            enter(netns)?;
        }
        if !mounts.is_empty() {
            private_mounts()?;
        }
        mounts.iter().try_for_each(|(from, to, flags)| {
            bind(from, to)?;
            if *flags == 0 { Ok(()) } else { remount(to, *flags) }
        })
    });
    Ok(command)
}

type Prepared = (CString, CString, libc::c_ulong);

/// Everything that needs memory happens before the fork.
fn prepared(mount: &Mount) -> Result<Prepared> {
    let (from, to, flags) = match mount {
        Mount::Bind { from, to } => (from, to, 0),
        Mount::ReadOnly { path } => (path, path, libc::MS_RDONLY),
    };
    let source = Path::new(from);
    let target = Path::new(to);
    if !source.exists() {
        fs::create_dir_all(source).with_context(|| from.clone())?;
    }
    if !target.exists() {
        if source.is_dir() {
            fs::create_dir_all(target).with_context(|| to.clone())?;
        } else {
            fs::create_dir_all(target.parent().context("no folder")?)?;
            fs::write(target, "").with_context(|| to.clone())?;
        }
    }
    Ok((CString::new(from.as_str())?, CString::new(to.as_str())?, flags))
}

#[expect(unsafe_code, reason = "namespaces are entered between fork and exec")]
fn before_exec(command: &mut Command, f: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: what runs there makes system calls only: no memory, no locks.
    unsafe { command.pre_exec(f) };
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[expect(unsafe_code, reason = "setsid(2) has no safe wrapper")]
fn new_session() -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::setsid() })
}

#[expect(unsafe_code, reason = "setns(2) has no safe wrapper")]
fn enter(netns: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `netns` lives.
    checked(unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) })
}

#[expect(unsafe_code, reason = "unshare(2) and mount(2) have no safe wrapper")]
fn private_mounts() -> io::Result<()> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: null is allowed for source, type and data of a propagation change.
    unsafe {
        checked(libc::unshare(libc::CLONE_NEWNS))?;
        checked(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()))
    }
}

#[expect(unsafe_code, reason = "mount(2) has no safe wrapper")]
fn bind(from: &CString, to: &CString) -> io::Result<()> {
    let flags = libc::MS_BIND;
    // SAFETY: both strings live through the call; a bind mount needs neither type nor data.
    checked(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), ptr::null(), flags, ptr::null()) })
}

#[expect(unsafe_code, reason = "mount(2) has no safe wrapper")]
fn remount(at: &CString, flags: libc::c_ulong) -> io::Result<()> {
    let flags = flags | libc::MS_BIND | libc::MS_REMOUNT;
    // SAFETY: the string lives through the call; a remount needs neither source, type nor data.
    checked(unsafe { libc::mount(ptr::null(), at.as_ptr(), ptr::null(), flags, ptr::null()) })
}
