//! The product's own programs and chart, run as their users run them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::SYSTEM;
use crate::control_plane::ControlPlane;
use crate::guest::Guest;
use crate::guest_process::GuestProcess;
use crate::process::{HostProcess, Signal, free_port};
use crate::program::Program;
use crate::protocol::Mount;
use crate::topology::Host;
use crate::{go_tools, progress, settings, tools};

/// The profile in which Cargo builds what runs in the lab.
pub const PROFILE: &str = "dev";

/// The agent's tests that need a real kernel, as one program.
pub const KERNEL_TESTS: &str = "kernel-tests";

/// A program of this workspace, built by `cargo xtask`.
///
/// # Errors
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = if PROFILE == "dev" { "debug" } else { PROFILE };
    let path = settings::target().join(folder).join(name);
    let path = path.canonicalize();
    path.with_context(|| format!("{name} is not built: run the lab by `cargo xtask lab`"))
}

/// The chart's folder.
#[must_use]
pub fn chart() -> PathBuf {
    settings::checkout().join("charts/lvs-operator")
}

/// Everything that the chart renders, by the real helm.
///
/// # Errors
/// When helm refuses it.
pub fn render(more: &[&str]) -> Result<String> {
    let mut helm = Command::new(go_tools::helm()?);
    helm.args(["template", "lvs-operator"])
        .arg(chart())
        .args(["--namespace", SYSTEM])
        .args(more);
    Ok(tools::text(&tools::run(&mut helm)?.stdout))
}

/// Installs the chart but for the workloads, which the lab runs itself: no kubelet is here.
///
/// # Errors
/// When the API server refuses something.
pub fn install(control_plane: &ControlPlane) -> Result<()> {
    progress::step("installing the chart", || {
        let rendered = render(&[])?;
        let is_workload = |document: &str| {
            document
                .lines()
                .any(|line| matches!(line, "kind: Deployment" | "kind: DaemonSet"))
        };
        let documents = rendered.split("\n---").filter(|document| !is_workload(document));
        // CRDs first: the API server may know a kind only some time after it accepted it.
        let is_crd = |document: &&str| document.contains("\nkind: CustomResourceDefinition");
        let (crds, others): (Vec<_>, Vec<_>) = documents.partition(is_crd);
        control_plane.add_namespace(SYSTEM)?;
        control_plane.apply(&crds.join("\n---"))?;
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        control_plane.kubectl(&established, None)?;
        control_plane.apply(&others.join("\n---")).map(drop)
    })
}

/// Starts the operator on this machine with the account that the chart gives it.
///
/// # Errors
/// When it cannot start.
pub fn start_operator(control_plane: &ControlPlane, name: &str) -> Result<HostProcess> {
    let token = control_plane.operator_token()?;
    let kubeconfig = control_plane.folder().join("operator.kubeconfig");
    let text = control_plane.kubeconfig_with_token(&control_plane.url(), &token)?;
    std::fs::write(&kubeconfig, text)?;
    let mut command = Command::new(program("lvs-operator")?);
    command.arg("--kubeconfig").arg(&kubeconfig);
    command.args(["--namespace", SYSTEM, "--log-format", "text"]);
    command.arg(format!("--admin-address=127.0.0.1:{}", free_port()?));
    command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
    HostProcess::start(name, command, &control_plane.folder().join(format!("{name}.log")))
}

/// How an agent is started.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// With the mounts and the capabilities of the chart's DaemonSet, instead of as plain root.
    pub confined: bool,
    /// More flags.
    pub flags: Vec<String>,
}

/// A node's own folders, which a restart of the agent keeps.
#[derive(Clone, Debug)]
pub struct NodeFolders {
    /// Shown to the agent as `/run/lvs-operator`; emptied by a reboot.
    pub run: String,
    /// Shown to the agent as `/var/lib/lvs-operator`.
    pub state: String,
    boot_id: String,
}

impl NodeFolders {
    /// Those of a host.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let run = format!("/run/nodes/{}", host.name);
        let state = format!("/var/lib/nodes/{}", host.name);
        Self {
            boot_id: format!("{run}.boot_id"),
            run,
            state,
        }
    }

    /// Makes the folders of many as on machines that were just installed.
    ///
    /// # Errors
    /// When the guest refuses.
    pub fn install(guest: &Guest, nodes: &[Self]) -> Result<()> {
        let fresh = |node: &Self| format!("rm -rf {}\n{}", node.state, node.boot_script());
        let script: String = nodes.iter().map(fresh).collect();
        guest.run(&Program::shell(&script)).map(drop)
    }

    /// As after a boot: a new boot id, and nothing under `/run`.
    ///
    /// # Errors
    /// When the guest refuses.
    pub fn boot(&self, host: &Host) -> Result<()> {
        host.guest().run(&Program::shell(&self.boot_script())).map(drop)
    }

    fn boot_script(&self) -> String {
        let Self { run, state, boot_id } = self;
        format!(
            "rm -rf {run}; mkdir -p -m 755 {run} {state}; read id < /proc/sys/kernel/random/uuid; echo $id > {boot_id}\n"
        )
    }

    /// What the agent of this node sees: its own folders and boot id in place of the guest's.
    #[must_use]
    pub fn mounts(&self, confined: bool) -> Vec<Mount> {
        let bind = |from: &str, to: &str| Mount::Bind {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        let mut mounts = vec![
            bind(&self.run, "/run/lvs-operator"),
            bind(&self.state, "/var/lib/lvs-operator"),
        ];
        if confined {
            // The writable one first: what is bound from a read-only mount is read-only, too.
            mounts.push(bind("/proc/sys/net", "/host/proc/sys/net"));
            mounts.push(Mount::ReadOnly {
                path: "/proc/sys".to_owned(),
            });
        }
        mounts.push(bind(&self.boot_id, "/proc/sys/kernel/random/boot_id"));
        mounts
    }
}

/// A running agent; it ends when dropped.
#[derive(Debug)]
pub struct Agent {
    process: GuestProcess,
}

impl Agent {
    /// Starts the agent of a node with a token that names the node.
    ///
    /// # Errors
    /// When the node is not registered or the agent cannot start.
    pub fn start(control_plane: &ControlPlane, host: &Arc<Host>, options: &AgentOptions) -> Result<Self> {
        let token = control_plane.agent_token(&host.name)?;
        let server = control_plane.url_in_guest();
        let kubeconfig = control_plane.kubeconfig_with_token(&server, &token)?;
        host.guest()
            .write(&kubeconfig_path(host), 0o600, kubeconfig.as_bytes())?;
        Self::start_again(host, options)
    }

    /// Starts it with the token that it had, without asking the API server for anything.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start_again(host: &Arc<Host>, options: &AgentOptions) -> Result<Self> {
        let program = agent_program(host, options, &[]);
        let process = host.start(program, "agent", false)?;
        Ok(Self { process })
    }

    /// Its process in the guest.
    #[must_use]
    pub fn process(&self) -> &GuestProcess {
        &self.process
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self, signal: Signal) -> Result<i32> {
        self.process.stop(signal)
    }
}

/// The agent's program on a node, with a subcommand or none: `plan`, `cleanup`.
#[must_use]
pub fn agent_program(host: &Host, options: &AgentOptions, subcommand: &[&str]) -> Program {
    let net = if options.confined {
        "/host/proc/sys/net"
    } else {
        "/proc/sys/net"
    };
    let mut argv: Vec<String> = Vec::new();
    if options.confined {
        let kept = "-all,+net_admin,+net_raw";
        argv.extend(["setpriv", "--no-new-privs", "--bounding-set", kept].map(str::to_owned));
    }
    argv.push("/lab/lvs-agent".to_owned());
    argv.extend(subcommand.iter().map(|&word| word.to_owned()));
    argv.extend(options.flags.iter().cloned());
    Program::new(argv)
        .env("NODE_NAME", &host.name)
        .env("LVS_KUBECONFIG", &kubeconfig_path(host))
        .env("LVS_NAMESPACE", SYSTEM)
        .env("LVS_PROC_SYS_NET", net)
        .env("LVS_LOG_FORMAT", "text")
        .env("LVS_ADMIN_ADDRESS", "127.0.0.1:9479")
        .env("RUST_BACKTRACE", "1")
        .env("NO_COLOR", "1")
        .mounts(NodeFolders::of(host).mounts(options.confined))
        .timeout(Duration::from_secs(60))
}

fn kubeconfig_path(host: &Host) -> String {
    format!("/run/nodes/{}.kubeconfig", host.name)
}

/// What goes onto the guest's second disk.
///
/// # Errors
/// When it is not built.
pub fn guest_programs() -> Result<Vec<PathBuf>> {
    ["lab-init", "lab-echo", "lvs-agent", "ipvs-player", KERNEL_TESTS]
        .into_iter()
        .map(program)
        .collect()
}

/// Whether a path looks like one of the product's logs.
#[must_use]
pub fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}
