//! How QEMU makes the guest's machine: by this one's processor where that works, else in software.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::{HostProcess, Signal};
use crate::root_image::RootImage;
use crate::{cache, clock, settings, tools};

const PROBED: &str = "lab-boot: reached";
const PROBE_LIMIT: Duration = Duration::from_secs(12);

/// How the guest's processor is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By this machine's own.
    Kvm,
    /// By emulation: some 18 times slower, but works everywhere.
    Tcg,
}

impl Accelerator {
    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // Without la57 and cx16, QEMU 7.2 ends in a double fault now and then.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off,cx16=off"],
        }
    }

    /// The one that works here: found by booting once, remembered for this QEMU and image.
    ///
    /// # Errors
    /// When the answer cannot be kept.
    pub fn of_this_machine(image: &RootImage) -> Result<Self> {
        let forced = settings::text(settings::ACCELERATOR);
        let answer = match forced {
            Some(forced) => forced,
            None => {
                let qemu = tools::run(qemu().arg("--version"))?;
                let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
                let recipe = format!("{}{}{release}", image.key, tools::text(&qemu.stdout));
                let folder = cache::folder("accelerator", &recipe, |folder| {
                    let works = Path::new("/dev/kvm").exists() && boots_with_kvm(image, folder);
                    fs::write(folder.join("answer"), if works { "kvm" } else { "tcg" })?;
                    Ok(())
                })?;
                fs::read_to_string(folder.join("answer"))?
            }
        };
        match answer.trim() {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            other => bail!("{} is kvm or tcg, not {other}", settings::ACCELERATOR),
        }
    }
}

fn qemu() -> Command {
    Command::new(tools::find("qemu-system-x86_64").unwrap_or_else(|| "qemu-system-x86_64".into()))
}

/// What a kernel does against attackers and against its own faults costs an emulated processor dearly, and no test is about
/// it; and a grace period of RCU is not slept through: network namespaces come and go with each test. The dearest by far is
/// that programs are laid out at random: QEMU translates a page of code anew for each address at which it is seen, and with
/// `norandmaps` a process takes a third of the time.
const LIGHT: &str = "mitigations=off norandmaps init_on_alloc=0 randomize_kstack_offset=off apparmor=0 audit=0 \
                     nowatchdog rcupdate.rcu_expedited=1";

pub(crate) fn machine(image: &RootImage, accelerator: Accelerator, console: &Path, append: &str) -> Command {
    let mut qemu = qemu();
    qemu.args(accelerator.arguments()).args(["-smp", "2", "-m", "3072"]);
    qemu.args(["-display", "none", "-no-reboot", "-nodefaults", "-no-user-config"]);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
    let line = "console=ttyS0 quiet root=/dev/vda rw init=/lab-boot net.ifnames=0 panic=1";
    qemu.arg("-append").arg(format!("{line} {LIGHT} {append}"));
    qemu.arg("-drive").arg(drive(&image.disk));
    qemu
}

pub(crate) fn drive(disk: &Path) -> String {
    format!("file={},if=virtio,format=raw,snapshot=on", disk.display())
}

fn boots_with_kvm(image: &RootImage, folder: &Path) -> bool {
    let console = folder.join("probe-console.log");
    let command = machine(image, Accelerator::Kvm, &console, "lab.probe");
    let Ok(process) = HostProcess::start("qemu", command, &folder.join("probe.log")) else {
        return false;
    };
    let reached = clock::until("the kernel started", PROBE_LIMIT, || {
        let said = fs::read(&console).unwrap_or_default();
        let reached = tools::text(&said).contains(PROBED);
        let ended = process.ended()?.is_some();
        Ok((reached || ended).then_some(reached))
    });
    // A processor that hangs does not act on anything milder.
    drop(process.stop(Signal::Kill, PROBE_LIMIT));
    reached.is_ok_and(|(reached, _)| reached)
}
