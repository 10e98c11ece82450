//! Command line. Every flag has an environment variable of the same name in capitals with the prefix `LVS_`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Converges this node's kernel IPVS, VIPs and ARP sysctls to its Placements, and proves it by reading back.
#[derive(Clone, Debug, Parser)]
#[command(name = "lvs-agent", version, max_term_width = 120)]
pub struct Arguments {
    /// What to do; runs as the node's agent when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where things are.
    #[command(flatten)]
    pub paths: Paths,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// What is done by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print what the next pass would change, as ipvsadm, ip and sysctl lines; change nothing.
    Plan,
    /// Take back everything that is ours on this host, and print it. Exit 0 when a read-back finds nothing left.
    Cleanup {
        /// Print the changes and make none.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Where the agent keeps and finds things.
#[derive(Clone, Debug, Args)]
pub struct Paths {
    /// Folder that survives a reboot: the last Placements (0600).
    #[arg(
        long,
        global = true,
        env = "LVS_STATE_DIR",
        default_value = "/var/lib/lvs-operator",
        value_name = "FOLDER"
    )]
    pub state_dir: PathBuf,
    /// Folder that dies with the kernel's state: the ledger of what is ours.
    #[arg(
        long,
        global = true,
        env = "LVS_RUN_DIR",
        default_value = "/run/lvs-operator",
        value_name = "FOLDER"
    )]
    pub run_dir: PathBuf,
    /// A writable /proc/sys/net (in a container, a mount of the host's).
    #[arg(
        long,
        global = true,
        env = "LVS_PROC_SYS_NET",
        default_value = "/proc/sys/net",
        value_name = "FOLDER"
    )]
    pub proc_sys_net: PathBuf,
    /// Form of the log on stderr.
    #[arg(long, global = true, env = "LVS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// How the agent runs.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Name of this node's Node object; NODE_NAME is taken too.
    #[arg(long, env = "LVS_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Kubeconfig file; the pod's service account when absent, then KUBECONFIG.
    #[arg(long, env = "LVS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The operator's namespace, which holds the Leases.
    #[arg(long, env = "LVS_NAMESPACE", default_value = "lvs-system")]
    pub namespace: String,
    /// Milliseconds between two cheap looks whether IPVS was flushed.
    #[arg(long, env = "LVS_FLUSH_CHECK_MILLISECONDS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..), value_name = "MILLISECONDS")]
    pub flush_check_milliseconds: u64,
    /// Seconds in which everything is read once, spread.
    #[arg(long, env = "LVS_AUDIT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    pub audit_seconds: u64,
    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "LVS_ADMIN_ADDRESS",
        default_value = "127.0.0.1:9479",
        value_name = "ADDRESS:PORT"
    )]
    pub admin_address: SocketAddr,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// JSON lines.
    Json,
    /// For people.
    Text,
}

impl Run {
    /// The node's name, from the flag or the variable that a pod gets by the downward API.
    ///
    /// # Errors
    /// Neither is there.
    pub fn node_name(&self) -> anyhow::Result<String> {
        #[expect(clippy::disallowed_methods, reason = "this is args.rs")]
        let fallback = || std::env::var("NODE_NAME").ok();
        self.node_name
            .clone()
            .or_else(fallback)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| anyhow::anyhow!("--node-name is missing (or set NODE_NAME)"))
    }
}
