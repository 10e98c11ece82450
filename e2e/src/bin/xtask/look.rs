//! Looking into a lab that was kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::guest::{self, Guest};
use e2e::protocol::{Launch, Request};
use e2e::{go_tools, settings, tools};

use crate::run::shown;

/// The newest run that has a guest.
fn newest() -> Result<PathBuf> {
    let runs = settings::target().join("lab");
    let entries = fs::read_dir(&runs).context("no lab was run here")?;
    let mut folders: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let live = folders.into_iter().rev().find(|folder| {
        // The name ends with the process that made it.
        let process = folder.to_string_lossy().rsplit('-').next().map(str::to_owned);
        process.is_some_and(|id| Path::new("/proc").join(id).exists()) && folder.join("port").exists()
    });
    live.context("no lab runs; cargo xtask lab --keep NAME leaves one")
}

/// Runs a program on a host.
pub(crate) fn exec(host: &str, argv: Vec<String>) -> Result<()> {
    let port = Guest::port_of(&newest()?)?;
    let netns = (host != "-").then(|| host.to_owned());
    let launch = Launch {
        argv,
        netns,
        ..Launch::default()
    };
    let limit = Duration::from_secs(600);
    let request = Request::Run {
        launch,
        timeout_milliseconds: 600_000,
    };
    let (reply, output) = guest::request(port, &request, &[], limit)?;
    let (stdout, stderr) = output.split_at(reply.stdout_bytes.min(output.len()));
    print!("{}", tools::text(stdout));
    eprint!("{}", tools::text(stderr));
    match reply.status {
        Some(0) => Ok(()),
        status => bail!("ended with {status:?}"),
    }
}

/// Runs kubectl as administrator.
pub(crate) fn kubectl(arguments: &[String]) -> Result<()> {
    let run = newest()?;
    let mut planes: Vec<_> = fs::read_dir(&run)?
        .filter_map(|entry| Some(entry.ok()?.path().join("admin.kubeconfig")))
        .filter(|path| path.exists())
        .collect();
    planes.sort_by_key(|path| path.to_string_lossy().len());
    let kubeconfig = planes.pop().context("that lab has no control plane")?;
    let mut kubectl = Command::new(go_tools::kubernetes()?.join("kubectl"));
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    shown(kubectl)
}
