//! Command line. Every flag has an environment variable of the same name in capitals with the prefix `LVS_`.

use crate::settings::MarkRange;
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Turns VirtualServices and RealServers into Placements for the nodes' agents, and tells what became of them.
#[derive(Clone, Debug, Parser)]
#[command(name = "lvs-operator", version, max_term_width = 120)]
pub struct Arguments {
    /// Kubeconfig file; the pod's service account when absent, then KUBECONFIG.
    #[arg(long, env = "LVS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The operator's own namespace, which holds the agents' Leases and the Placements of DirectorGroups; the pod's when
    /// absent, else lvs-system.
    #[arg(long, env = "LVS_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "LVS_ADMIN_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub admin_address: SocketAddr,
    /// Firewall marks for services with persistence.acrossPorts, both ends included. Marks with 0x4000 or 0x8000 set, which
    /// are kube-proxy's, are left out. Nobody else on the directors may use these marks.
    #[arg(
        long,
        env = "LVS_FIREWALL_MARK_RANGE",
        default_value_t = MarkRange::default(),
        value_name = "START-END"
    )]
    pub firewall_mark_range: MarkRange,
    /// Form of the log on stderr.
    #[arg(long, env = "LVS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// JSON lines.
    Json,
    /// For people.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_flag_has_its_environment_variable() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let flag = argument.get_long().unwrap();
            let expected = format!("LVS_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().unwrap().to_str(), Some(expected.as_str()));
        }
    }

    #[test]
    fn an_unknown_flag_ends_with_two() {
        let error = Arguments::try_parse_from(["lvs-operator", "--leader-elect"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
