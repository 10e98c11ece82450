//! The program lvs-agent.

use clap::Parser;
use node_agent::args::{Arguments, Command, LogFormat, Paths};
use node_agent::run::{Make, cleanup, print_plan, run};
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let Arguments {
        command,
        paths,
        run: options,
    } = Arguments::parse();
    start_log(&paths);
    match command {
        Some(Command::Plan) => print_plan(&paths),
        Some(Command::Cleanup { dry_run: true }) => cleanup(&paths, Make::Nothing),
        Some(Command::Cleanup { dry_run: false }) => cleanup(&paths, Make::Changes),
        None => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(run(paths, options)),
    }
}

fn start_log(paths: &Paths) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match paths.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
}
