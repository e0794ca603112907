//! The command line. Help teaches: each command says what it is for and shows a line to copy.

pub(crate) mod dev;
pub(crate) mod run;
mod state;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

/// Apache Kafka and Redis for development and tests, started on this machine without docker.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "First steps:
  nimbus-services run -- cargo test -p nimbus-redis   both for one command, on free ports, gone afterwards
  nimbus-services up                                  both for a day: Kafka on 127.0.0.1:9092, Redis on 127.0.0.1:6379
  nimbus-services down                                ends what `up` started; Kafka's data stays

They need java, redis-server 7 or newer, and mvn for the first time: it fetches Kafka's jars into target/services.
Debian, Ubuntu: apt-get install default-jre-headless maven redis-server

Exit codes: 0 done, 1 something failed, 64 a wrong argument, 69 something is missing; `run`: the code of its command."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts both on free ports, runs a command that finds them in its environment, and ends them
    #[command(after_help = "Examples:
  nimbus-services run -- cargo test
  nimbus-services run -- bash -c 'redis-cli -p ${NIMBUS_TEST_REDIS#*:} ping'
  NIMBUS_TEST_REDIS=127.0.0.1:6379 nimbus-services run -- cargo test     that one, and a Kafka of its own

The command finds them as host:port in NIMBUS_TEST_KAFKA and NIMBUS_TEST_REDIS. One that is set already is left as it is.
If one cannot be had (not installed, or its jars not fetched), this is said and the command runs without that variable, so that
its tests skip what needs it; with CI=true it is an error (69) and the command does not run.
Interrupted or terminated, it waits for the command to end, and then ends the services. Even after SIGKILL nothing is left.")]
    Run {
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Starts Kafka on 127.0.0.1:9092 and Redis on 127.0.0.1:6379, and leaves them running
    #[command(
        after_help = "What is there already is left as it is, also if another program started it. State, logs and Kafka's
data are in target/services/up; to begin afresh: nimbus-services down, and remove that directory."
    )]
    Up,
    /// Ends what `up` started, and nothing else
    Down,
    /// Shows what `up` started, and what answers on the two ports
    #[command(after_help = "Exit codes: 0 both answer, 69 one does not.")]
    Status,
}
