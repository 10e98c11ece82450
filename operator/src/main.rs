//! `lvs-operator`: see the library.

use clap::Parser;
use operator::args::Arguments;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    operator::run::run(Arguments::parse()).await
}
