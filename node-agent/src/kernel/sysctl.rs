//! The knobs below `/proc/sys/net`, or where a container has that mounted writable.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::KernelError;
use crate::state::Sysctl;

/// The folder `net` of the sysctl tree.
#[derive(Clone, Debug)]
pub(super) struct SysctlFolder {
    root: PathBuf,
}

impl SysctlFolder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The value; `None` when the interface is gone.
    pub(super) fn read(&self, sysctl: &Sysctl) -> Result<Option<i64>, KernelError> {
        let path = self.path(sysctl)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_mounted() => return Ok(None),
            Err(error) => return Err(failed(&path, &error)),
        };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Writes the value and reads it back: a knob may be clamped, or the folder be another namespace's.
    pub(super) fn write(&self, sysctl: &Sysctl, value: i64) -> Result<(), KernelError> {
        let path = self.path(sysctl)?;
        match self.write_file(&path, value) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_mounted() => return gone(sysctl),
            Err(error) => return Err(failed(&path, &error)),
        }
        match self.read(sysctl)? {
            Some(present) if present == value => Ok(()),
            Some(present) => Err(failed(&path, &format!("{value} was written, {present} is read back"))),
            None => gone(sysctl),
        }
    }

    /// Never creates the file: below a folder that is not sysctl's it would succeed and mean nothing.
    fn write_file(&self, path: &Path, value: i64) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(format!("{value}\n").as_bytes())
    }

    /// An interface that is gone and a folder that is not there are the same error number.
    fn is_mounted(&self) -> bool {
        self.root.join("ipv4/conf/all").is_dir()
    }

    /// Interface names come from the kernel, which refuses these itself; here they would lead out of the folder.
    fn path(&self, sysctl: &Sysctl) -> Result<PathBuf, KernelError> {
        let path = self.root.join(sysctl.path());
        let leads_out = |name: &str| name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
        if sysctl.interface.as_deref().is_some_and(leads_out) {
            return Err(failed(&path, &"no name of an interface"));
        }
        Ok(path)
    }
}

fn gone(sysctl: &Sysctl) -> Result<(), KernelError> {
    Err(match &sysctl.interface {
        Some(interface) => KernelError::NoInterface {
            interface: interface.clone(),
        },
        None => KernelError::NoSysctl { sysctl: sysctl.clone() },
    })
}

fn failed(path: &Path, reason: &dyn std::fmt::Display) -> KernelError {
    KernelError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests;
