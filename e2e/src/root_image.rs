//! The guests' disks: stock Debian packages, nothing of ours but a few lines that start init.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cache, tools};

/// A suite of Debian, for its stock kernel and the tools of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// Linux 6.1.
    Bookworm,
    /// Linux 6.12: where no other is asked for.
    #[default]
    Trixie,
    /// The newest that Debian has: Linux 7.2 when this was written.
    Sid,
}

impl Suite {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Sid];

    /// Debian's own name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// Its kernel's version, for people: nothing is decided by it.
    #[must_use]
    pub fn linux(self) -> &'static str {
        match self {
            Self::Bookworm => "Linux 6.1",
            Self::Trixie => "Linux 6.12",
            Self::Sid => "Linux of Debian sid",
        }
    }
}

const PACKAGES: &[&str] = &[
    "conntrack",
    "curl",
    "ethtool",
    // Sid's own choice starts systemd before our init, which takes fifteen seconds longer.
    "initramfs-tools",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "ipvsadm",
    "keepalived",
    "kmod",
    "libcap2-bin",
    "linux-image-cloud-amd64",
    "mount",
    "ndisc6",
    "nftables",
    "nginx-light",
    "procps",
    "socat",
    "strace",
    "tcpdump",
    "util-linux",
];

/// What the kernel starts: init itself comes on a second disk, so that this one stays cached.
/// With `lab.probe` it only tells that the kernel came this far.
const BOOT: &str = r#"#!/bin/sh
case "$(cat /proc/cmdline)" in
*lab.probe*)
    echo "lab-boot: reached"
    echo o > /proc/sysrq-trigger
    sleep 10 ;;
esac
mount -t ext4 -o ro /dev/vdb /lab && exec /lab/lab-init
"#;

/// What QEMU needs to boot a guest.
#[derive(Clone, Debug)]
pub struct RootImage {
    /// Where its packages are from.
    pub suite: Suite,
    /// A short name for this content.
    pub key: String,
    /// The kernel as Debian ships it.
    pub kernel: PathBuf,
    /// The initrd that its package made.
    pub initrd: PathBuf,
    /// The root disk, raw ext4.
    pub disk: PathBuf,
}

/// The root disk of a suite, from the cache or made now.
///
/// # Errors
/// When it cannot be made.
pub fn root_image(suite: Suite) -> Result<RootImage> {
    let recipe = format!("{} {PACKAGES:?} {BOOT}", suite.name());
    let folder = cache::folder(&format!("guest-{}", suite.name()), &recipe, |folder| {
        make(suite, folder)
    })?;
    Ok(RootImage {
        suite,
        key: cache::key(&recipe),
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd"),
        disk: folder.join("root.img"),
    })
}

fn make(suite: Suite, folder: &Path) -> Result<()> {
    if !tools::is_root() {
        bail!("the guest's root folder has files of several owners: run `cargo xtask setup` as root once");
    }
    let root = folder.join("root");
    let include = format!("--include={}", PACKAGES.join(","));
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=apt", &include]);
    // A mirror of sid may be older than the few days for which its list is valid.
    mmdebstrap.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    tools::run(mmdebstrap.arg(suite.name()).arg(&root))?;
    fs::create_dir_all(root.join("lab"))?;
    let boot = root.join("lab-boot");
    fs::write(&boot, BOOT)?;
    fs::set_permissions(&boot, fs::Permissions::from_mode(0o755))?;
    for (prefix, name) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
        fs::copy(only(&root.join("boot"), prefix)?, folder.join(name))?;
    }
    disk(&root, &folder.join("root.img"), "2G")?;
    fs::remove_dir_all(&root).context("cannot remove the root folder")
}

fn only(folder: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("the kernel package left no {prefix}… in {}", folder.display())
}

/// Makes an ext4 disk from a folder.
///
/// # Errors
/// When mke2fs fails.
pub fn disk(from: &Path, to: &Path, size: &str) -> Result<()> {
    let mke2fs = tools::find("mke2fs").context("mke2fs")?;
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"]);
    tools::run(command.arg(from).arg(to).arg(size))?;
    Ok(())
}
