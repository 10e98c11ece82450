//! What is needed to see why something failed, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cluster::{KINDS, SYSTEM};
use crate::control_plane::ControlPlane;
use crate::guest::Guest;
use crate::guest_process::LOGS;
use crate::program::Program;
use crate::{product, progress, tools};

/// Every kernel table of every namespace.
const TABLES: &str = "for n in $(ls /run/netns); do
    echo \"######## $n\"
    ip netns exec $n sh -c 'ipvsadm -Ln; ipvsadm -Lcn; ip address; ip route show table all; ip neigh;
        nft list ruleset; sysctl -a -r \"arp_(ignore|announce)|ipv4.vs|ip_forward$\" 2>/dev/null;
        conntrack -L 2>/dev/null; ss -tulpn'
done 2>&1; echo '######## processes'; ps -ef; dmesg | tail -50";

/// Gathers everything that can still be had, in `folder`, and says where it is.
pub fn gather(folder: &Path, guest: &Guest, control_plane: &ControlPlane, why: &str) {
    let results = [
        ("folder", fs::create_dir_all(folder).context("cannot make it")),
        ("console", copy(guest.console(), &folder.join("console.log"))),
        ("programs in the guest", guest_logs(folder, guest)),
        ("kernel tables", kernel_tables(folder, guest)),
        ("programs on this machine", host_logs(folder, control_plane.folder())),
        ("objects", objects(folder, control_plane)),
    ];
    let failed = results
        .into_iter()
        .filter_map(|(what, result)| Some((what, result.err()?)));
    let missing: String = failed.map(|(what, error)| format!("\n{what}: {error:#}")).collect();
    let text = format!("{why}\n\nnot gathered:{missing}\n");
    if let Err(error) = fs::write(folder.join("why.txt"), text) {
        progress::say(&format!("no why.txt: {error}"));
    }
    progress::say(&format!("everything about it is in {}", folder.display()));
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| from.display().to_string())
}

fn guest_logs(folder: &Path, guest: &Guest) -> Result<()> {
    let list = guest.run(&Program::shell(&format!("ls {LOGS} 2>/dev/null || true")))?;
    for name in list.stdout.split_whitespace() {
        fs::write(folder.join(name), guest.read(&format!("{LOGS}/{name}"), 0)?)?;
    }
    Ok(())
}

fn kernel_tables(folder: &Path, guest: &Guest) -> Result<()> {
    let tables = guest.attempt(&Program::shell(TABLES))?;
    fs::write(folder.join("kernel-tables.txt"), tables.stdout).context("cannot write it")
}

fn host_logs(folder: &Path, from: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path: PathBuf = entry?.path();
        if let (true, Some(name)) = (product::is_log(&path), path.file_name()) {
            copy(&path, &folder.join(name))?;
        }
    }
    Ok(())
}

fn objects(folder: &Path, control_plane: &ControlPlane) -> Result<()> {
    let get = |kinds: &str, more: &[&str]| {
        let all = ["get", kinds, "-A", "-o", "yaml", "--request-timeout=10s"];
        let all = [&all[..], more].concat();
        control_plane.kubectl_as(&control_plane.kubeconfig(), &all, None)
    };
    let both =
        |output: &std::process::Output| format!("{}{}", tools::text(&output.stdout), tools::text(&output.stderr));
    fs::write(
        folder.join("objects.yaml"),
        both(&get(KINDS, &["--show-managed-fields"])?),
    )?;
    fs::write(folder.join("around.yaml"), both(&get("nodes,namespaces,leases", &[])?))?;
    let events = ["get", "events.events.k8s.io", "-A", "--request-timeout=10s"];
    let events = control_plane.kubectl_as(&control_plane.kubeconfig(), &events, None)?;
    fs::write(folder.join("events.txt"), both(&events)).context(SYSTEM)
}
