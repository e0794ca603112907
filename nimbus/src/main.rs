//! The `nimbus` binary: reads the command line and the settings, runs one command, and exits with a code that says how it
//! went. What a server is made of stands in `compose`.

mod cli;
mod exit;

use std::process::ExitCode;

use clap::Parser;
use nimbus_config::{Environment, Loaded};

use crate::{
    cli::{Cli, Command},
    exit::{Exit, Failure, OrExit},
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way as well; clap knows which stream they belong to.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return if error.print().is_ok() { exit.into() } else { Exit::Io.into() };
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            eprintln!("nimbus: {error:#}");
            exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let environment = Environment::of_process();
    match cli.command {
        Command::Config(args) => cli::config::show(&load(&environment)?, &args),
        Command::Standalone(_) | Command::Dev(_) | Command::Client(_) => {
            Err(Failure::new(Exit::Failed, "not built yet"))
        }
    }
}

/// Every problem at once, or the settings; what is merely odd is told on the way.
fn load(environment: &Environment) -> Result<Loaded, Failure> {
    let loaded = nimbus_config::load(environment).or_exit(Exit::Usage)?;
    for warning in &loaded.warnings {
        eprintln!("nimbus: warning: {warning}");
    }
    Ok(loaded)
}
