//! Programs of this machine that the lab needs.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::{progress, settings};

/// Program, and the Debian package that has it.
const PACKAGES: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("curl", "curl"),
];

/// Makes sure that everything is there: installs it when we may, says what is missing when not.
///
/// # Errors
/// When something is missing and stays so.
pub fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let by_hand = format!("please install: apt-get install {packages}");
    if find("apt-get").is_none() || !is_root() {
        bail!("the lab needs programs that are not here; {by_hand}");
    }
    progress::step(&format!("installing {packages}"), || {
        apt(&["update", "--quiet"])?;
        let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
        arguments.extend(&missing);
        apt(&arguments).context(by_hand)
    })
}

fn missing() -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, p)| *p)
        .collect()
}

fn apt(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}

/// Where a program is, the folders of the administrator included.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(sbin)
        .map(|folder| folder.join(program))
        .find(|p| p.exists())
}

/// Whether we may install packages and make files of other owners.
#[expect(unsafe_code, reason = "geteuid(2) has no safe wrapper")]
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A command of the Go toolchain, in one of the module folders of the lab.
///
/// # Errors
/// When there is no Go.
pub fn go(module: &str) -> Result<Command> {
    let go = find("go").or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")));
    let go = go
        .filter(|go| go.exists())
        .context("the lab needs Go 1.26 or later in the PATH")?;
    let mut command = Command::new(go);
    command.current_dir(settings::checkout().join("e2e").join(module));
    // A checkout's state must not change what the tools are called or whether they build.
    command
        .env("GOFLAGS", "-buildvcs=false")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0");
    Ok(command)
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot start or fails; the error has its output.
pub fn run(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| shown.clone())?;
    if output.status.success() {
        return Ok(output);
    }
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    bail!("{shown} ended with {}\n{out}{err}", output.status)
}

/// Output as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
