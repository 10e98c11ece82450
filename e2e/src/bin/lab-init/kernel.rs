//! The few things that init asks of the kernel itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Loaded before any snapshot: ip_vs brings sysctls with it, a kind of tunnel a device in every namespace.
const MODULES: &[&str] = &[
    "virtio_net",
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_lc",
    "ip_vs_wlc",
    "ip_vs_lblc",
    "ip_vs_lblcr",
    "ip_vs_dh",
    "ip_vs_sh",
    "ip_vs_sed",
    "ip_vs_nq",
    "ip_vs_fo",
    "ip_vs_ovf",
    "ip_vs_mh",
    "ip_vs_pe_sip",
    "nf_conntrack",
    "nf_tables",
    "nf_nat",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_ct",
    "nft_numgen",
    "nft_reject_inet",
    "sctp",
    "dummy",
    "veth",
    "bridge",
    "ipip",
    "sit",
    "ip6_tunnel",
    "ip_gre",
    "ip6_gre",
    // Nothing loads it by itself; fou6 is for what the tests wrap.
    "fou",
    "fou6",
    "nlmon",
    "pktgen",
    "af_packet",
    "netlink_diag",
];
/// Debian's 6.1 is built without it.
const NOT_EVERYWHERE: &[&str] = &["ip_vs_twos"];

const COMMANDS: &str = "
    ip link set lo up
    ip address add 10.0.2.15/24 dev eth0
    ip link set eth0 up
    ip route add default via 10.0.2.2
";

/// Held by chains without a rule: where a hook has its first user or loses its last one, the kernel patches its own code for all
/// namespaces, which is slow on an emulated processor and now and then the end of it.
const HOOKS: &[&str] = &["prerouting", "input", "forward", "output", "postrouting"];

/// Mounts, modules and the network that leads to the host.
pub(crate) fn prepare() -> Result<()> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        mount(kind, at)?;
    }
    run(&format!("modprobe -a {}", MODULES.join(" ")))?;
    if run(&format!("modprobe -a {}", NOT_EVERYWHERE.join(" "))).is_err() {
        eprintln!("lab-init: this kernel has not all of {NOT_EVERYWHERE:?}");
    }
    for line in COMMANDS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run(line)?;
    }
    // A new namespace starts with the kernel's defaults, as a machine does, not with what the
    // first one has been set to (this guest forwards; its nodes need not).
    sysctl("net/core/devconf_inherit_init_net", "2")?;
    sysctl("net/ipv4/ip_forward", "1")?;
    run("ip link add mgmt type bridge")?;
    run("ip address add 10.99.0.1/16 dev mgmt")?;
    run("ip link set mgmt up")?;
    // Nodes reach the control plane on the host through here, whatever their own network does.
    run("nft add table ip lab")?;
    run("nft add chain ip lab out { type nat hook postrouting priority srcnat ; }")?;
    run("nft add rule ip lab out ip saddr 10.99.0.0/16 oifname eth0 masquerade")?;
    run("nft add table inet held")?;
    for hook in HOOKS {
        let chain = format!("type filter hook {hook} priority filter ;");
        run(&format!("nft add chain inet held {hook} {{ {chain} }}"))?;
    }
    fs::create_dir_all("/run/netns").context("/run/netns")
}

/// What the initrd has mounted already stays.
fn mount(kind: &str, at: &str) -> Result<()> {
    let mounted = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if mounted.lines().any(|line| line.split(' ').nth(1) == Some(at)) {
        return Ok(());
    }
    fs::create_dir_all(at).with_context(|| format!("cannot make {at}"))?;
    run(&format!("mount -t {kind} {kind} {at}"))
}

fn sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(Path::new("/proc/sys").join(name), value).with_context(|| format!("sysctl {name}"))
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty line")?;
    let status = Command::new(program)
        .args(words)
        .env("PATH", crate::launch::PATH)
        .status();
    match status.with_context(|| line.to_owned())?.success() {
        true => Ok(()),
        false => bail!("failed: {line}"),
    }
}

/// Waits for the end of any child, an adopted one included.
#[expect(unsafe_code, reason = "std can only wait for children that it started itself")]
pub(crate) fn wait_for_any_child() -> Option<u32> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the kernel to write to.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    if pid < 0 {
        // No child at all, which cannot last: do not spin until there is one again.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    u32::try_from(pid).ok()
}

/// Ends the machine.
#[expect(unsafe_code, reason = "reboot(2) has no safe wrapper")]
pub(crate) fn power_off() {
    // SAFETY: neither call takes a pointer.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

/// Sends a signal to a process, or to a group when `pid` is negative.
#[expect(unsafe_code, reason = "std can only kill, and only a child it holds")]
pub(crate) fn signal(pid: i32, signal: i32) -> std::io::Result<()> {
    // SAFETY: takes no pointer.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Milliseconds since the boot: one clock for everything that happens in the guest.
pub(crate) fn clock() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    seconds.replace('.', "").parse::<u64>().unwrap_or_default() * 10
}
