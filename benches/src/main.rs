//! `nimbus-bench`: what Nimbus costs, in ratios to a baseline that is measured in the same run.
//!
//! - `nimbus-bench run`: the benchmark that `make bench` runs;
//! - `nimbus-bench baseline`, `nimbus-bench glue` and `nimbus-bench nats`: a baseline server alone, for a look of one's own.

mod baseline;
mod bench;
mod edge;
mod glue;

use std::{io::Write, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

/// What Nimbus costs, in ratios to a baseline that is measured in the same run.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures a Nimbus binary and the baseline in turn, prints a table and writes a JSON file.
    Run(bench::Plan),
    /// Serves the baseline: raw tonic and one fdatasync per batch.
    Baseline {
        /// Where its file goes. Without: none is written, and what answers is tonic alone.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Serves the baseline over Kafka and Redis: the same parts, and no guarantee.
    Glue {
        #[command(flatten)]
        parts: glue::Parts,
        /// Says that it is ready as `nimbus server --json` does, so that it can stand in its place.
        #[arg(long)]
        json: bool,
    },
    /// Serves the glue over NATS JetStream instead of Kafka and Redis.
    Nats {
        #[command(flatten)]
        parts: glue::nats::Parts,
        /// Says that it is ready as `nimbus server --json` does, so that it can stand in its place.
        #[arg(long)]
        json: bool,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(plan) => bench::run(&plan).await,
        Command::Baseline { directory } => {
            baseline::serve(directory.as_deref(), |address| say(&format!("baseline {}{address}", bench::LISTENING)))
                .await
        }
        Command::Glue { parts, json } => glue::serve(&parts, |address| say(&ready("glue", address, json))).await,
        Command::Nats { parts, json } => glue::nats::serve(&parts, |address| say(&ready("nats", address, json))).await,
    }
}

/// What a server says when it serves.
fn ready(server: &str, address: SocketAddr, json: bool) -> String {
    if json {
        let grpc = address.to_string();
        serde_json::json!({ "kind": "ready", "server": server, "grpc": grpc, "admin": null }).to_string()
    } else {
        format!("{server} {}{address}", bench::LISTENING)
    }
}

/// Says a line to whoever started this process.
fn say(line: &str) {
    println!("{line}");
    drop(std::io::stdout().flush());
}
