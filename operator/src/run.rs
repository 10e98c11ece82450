//! Puts the program together: log, client, admin server, loop, signals.

use crate::admin::{self, Readiness};
use crate::args::{Arguments, LogFormat};
use crate::controller::Controller;
use crate::metrics::Metrics;
use crate::settings::Settings;
use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::net::IpAddr;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What it needs to start is not there.
pub async fn run(arguments: Arguments) -> Result<()> {
    log_to_stderr(arguments.log_format);
    let (config, pod_namespace) = config(&arguments).await?;
    let mut settings = Settings {
        firewall_marks: arguments.firewall_mark_range,
        ..Settings::default()
    };
    if let Some(namespace) = arguments.namespace.or(pod_namespace) {
        settings.namespace = namespace;
    }
    let api_servers = api_servers(&config).await;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = settings.namespace, url = %config.cluster_url, "starting");
    let client = Client::try_from(config).context("cannot make a client of this configuration")?;
    let (metrics, readiness) = (Metrics::default(), Readiness::default());
    let listener = TcpListener::bind(arguments.admin_address).await;
    let listener = listener.with_context(|| {
        format!(
            "cannot listen on {}: choose another --admin-address",
            arguments.admin_address
        )
    })?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let controller = Controller::new(&client, settings, api_servers, metrics.clone(), readiness.clone());
    tokio::select! {
        () = controller.run() => Ok(()),
        ended = admin::serve(listener, readiness, metrics) => ended.context("the admin server ended"),
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for SIGINT"),
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
}

/// The configuration, and the pod's namespace when this is a pod.
async fn config(arguments: &Arguments) -> Result<(Config, Option<String>)> {
    let (mut config, namespace) = match &arguments.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
            (config.with_context(|| format!("cannot use {}", path.display()))?, None)
        }
        None => match Config::incluster() {
            Ok(config) => {
                let namespace = config.default_namespace.clone();
                (config, Some(namespace))
            }
            Err(_) => {
                let config = Config::infer().await;
                (
                    config.context("not in a pod, and no kubeconfig: name one with --kubeconfig")?,
                    None,
                )
            }
        },
    };
    // The client would try a write again for minutes, on a decision that is old by then. The next pass is the retry.
    config.default_retry = false;
    Ok((config, namespace))
}

/// The addresses behind the client's URL: in a pod, that is the `kubernetes` Service.
async fn api_servers(config: &Config) -> Vec<IpAddr> {
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::warn!(host, %error, "the API server's name does not resolve: VIPs are not compared with its address");
            Vec::new()
        }
    }
}
