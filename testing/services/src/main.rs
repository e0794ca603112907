//! `nimbus-services`: Kafka and Redis for one command (`run`) or for a day of development (`up`, `down`, `status`).
//!
//! Exit codes follow sysexits, like those of `nimbus`: 64 for a wrong argument, 69 for something that is missing, 1 for what
//! failed; `run` ends with the code of its command.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, dev, run};

/// A wrong argument.
const USAGE: u8 = 64;
/// Something has to be installed or fetched, or a port is another's.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return if error.print().is_ok() { code } else { ExitCode::FAILURE };
        }
    };
    let done = match cli.command {
        Command::Run { command } => run::run(&command),
        Command::Up => dev::up(),
        Command::Down => dev::down(),
        Command::Status => dev::status(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("nimbus-services: {error:#}");
        let is_unavailable = error.downcast_ref::<nimbus_services::Error>().is_some_and(|error| error.is_unavailable());
        if is_unavailable { ExitCode::from(UNAVAILABLE) } else { ExitCode::FAILURE }
    })
}
