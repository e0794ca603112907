//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use nimbus_chaos::{DEFAULT_CLIENTS, DEFAULT_RATE, Kind};

use crate::scenarios::Wanted;

/// Breaks a real Nimbus under load, fault after fault, and verifies every answer
#[derive(Debug, Parser)]
#[command(
    name = "nimbus chaos",
    version,
    max_term_width = 100,
    after_help = after_help(),
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// For how long faults are begun
    #[arg(long, default_value_t = 30.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Decides the order of the faults, their victims and moments [default: a new one, which is told]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only these kinds of faults
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub(crate) only: Vec<Kind>,
    /// How many clients
    #[arg(long, default_value_t = DEFAULT_CLIENTS, value_parser = at_least_one)]
    pub(crate) clients: usize,
    /// Events a second, of all clients together; they are sent at this rate whatever comes back
    #[arg(long, default_value_t = DEFAULT_RATE, value_parser = rate)]
    pub(crate) rate: f64,
    /// How long the load is measured before the first fault, after as long a time to settle
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) steady: Duration,
    /// Where report.md, report.json and timeline.svg go, and logs and data if something is wrong
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    pub(crate) out: PathBuf,
    /// Keeps logs and data also when nothing is wrong
    #[arg(long)]
    pub(crate) keep: bool,
    /// Prints the report as JSON, and no progress
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes report.md and timeline.svg of an earlier report.json anew, and runs nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) redraw: Option<PathBuf>,
    /// The `nimbus` to test [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) nimbus: Option<PathBuf>,
}

/// What else there is than faults.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Stages what is said about an installation at work, and measures what its clients feel of it
    Scenarios(Wanted),
}

fn after_help() -> String {
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| format!("  {:<16} {}", kind.name(), kind.what())).collect();
    format!(
        "Examples:
  nimbus chaos --minutes 5 --seed 1                       every kind of fault at least once takes some five minutes
  nimbus chaos --minutes 1 --only kill-server,redis-flush
  nimbus chaos --json | jq '.kinds[] | {{kind, recovery_max_s}}'

It starts a Kafka, a Redis, two servers, two executors and two routers of its own on free ports of this machine, and ends them; even after
SIGKILL no process is left. It needs java, redis-server 7 or newer, and mvn for the first time. No running Nimbus is touched.

Clients of the SDK send at a fixed rate and verify every answer. After each fault it waits until all is well again, and for some
seconds more. The same seed is the same plan; the moments depend on how long recoveries take.

Faults:
{}

Exit codes:
  0    nothing was lost, repeated, out of order, wrong or sent to another, and everything came back
  1    something was: the report says what, and the logs and data of all processes are kept and named
  64   an argument is wrong
  69   something is missing: nimbus, java, redis-server, or it does not start
  130  cut short by ctrl-c: the report so far is written. A second ctrl-c exits at once",
        kinds.join("\n")
    )
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= 100_000.0 => Ok(minutes),
        _ => Err("write a number of minutes, such as 30 or 0.5".to_owned()),
    }
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("write a number from 1 on".to_owned()),
    }
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 10s"))
}
