//! With everything logged that there is to log, is any token or Secret in it?

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::SYSTEM;
use e2e::control_plane::ControlPlane;
use e2e::process::{HostProcess, Signal, free_port};
use e2e::product::{self, AgentOptions};
use e2e::scene::Scene;
use e2e::topology;

use crate::shop;

pub(super) fn logs(scene: &Scene) -> Result<()> {
    scene.lay(&topology::one_lan(&[("dir1", 10)]))?;
    scene.register("dir1")?;
    let control_plane = scene.control_plane();
    let secret = "a-word-that-nobody-may-read";
    control_plane.kubectl(
        &[
            "-n",
            SYSTEM,
            "create",
            "secret",
            "generic",
            "vrrp",
            &format!("--from-literal=password={secret}"),
        ],
        None,
    )?;
    // Both write their kubeconfigs and log what everybody logs.
    let host = scene.host("dir1")?;
    scene.start_agent("dir1", &AgentOptions::default())?;
    scene.stop_agent("dir1", Signal::Terminate)?;
    let first = product::start_operator(control_plane, "operator-first")?;
    first.stop(Signal::Terminate, Duration::from_secs(20))?;
    let agent = product::agent_program(&host, &AgentOptions::default(), &[]).env("RUST_LOG", "trace");
    let agent = host.start(agent, "agent-traced", false)?;
    let operator = traced_operator(control_plane)?;
    scene.apply(&shop::example("dr")?)?;
    let programmed = ("Programmed", "True", "Ok");
    control_plane.wait_until_said("shop", "virtualservice/web", programmed, "dir1")?;
    // And once with a token that is refused.
    control_plane.kubectl(&["delete", "node", "dir1"], None)?;
    std::thread::sleep(Duration::from_secs(3));
    let operator_log = fs::read_to_string(operator.log())?;
    let mut read = vec![
        ("the agent's log".to_owned(), agent.output()?),
        ("the operator's".to_owned(), operator_log),
    ];
    ensure!(
        read.iter().all(|(_, text)| text.contains("TRACE")),
        "not everything was logged"
    );
    read.push((
        "events".to_owned(),
        control_plane.kubectl(&["get", "events", "-A", "-o", "yaml"], None)?,
    ));
    drop((agent, operator));
    let in_guest = String::from_utf8(host.guest().read("/run/nodes/dir1.kubeconfig", 0)?)?;
    let on_host = fs::read_to_string(control_plane.folder().join("operator.kubeconfig"))?;
    let mut words = vec![secret.to_owned()];
    for kubeconfig in [in_guest, on_host] {
        // The last part alone is what nobody can make himself.
        words.extend(token(&kubeconfig)?.rsplit('.').take(2).map(str::to_owned));
    }
    for (name, text) in &read {
        scene.step(&format!("{name}: {} kB", text.len() / 1024));
        let found = words.iter().find(|word| text.contains(word.as_str()));
        ensure!(found.is_none(), "{name} holds {found:?}");
    }
    control_plane
        .kubectl(&["-n", SYSTEM, "delete", "secret", "vrrp"], None)
        .map(drop)
}

fn traced_operator(control_plane: &ControlPlane) -> Result<HostProcess> {
    let mut command = Command::new(product::program("lvs-operator")?);
    command
        .arg("--kubeconfig")
        .arg(control_plane.folder().join("operator.kubeconfig"));
    command.args(["--namespace", SYSTEM]).env("RUST_LOG", "trace");
    command.arg(format!("--admin-address=127.0.0.1:{}", free_port()?));
    let log = control_plane.folder().join("operator-traced.log");
    HostProcess::start("operator-traced", command, &log)
}

fn token(kubeconfig: &str) -> Result<String> {
    let kubeconfig: serde_json::Value = serde_json::from_str(kubeconfig)?;
    let token = kubeconfig["users"][0]["user"]["token"].as_str();
    token.map(str::to_owned).context("a kubeconfig without a token")
}
