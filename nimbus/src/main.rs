//! The `nimbus` binary: reads the command line and the settings, runs one command, and exits with a code that says how it
//! went. What a server is made of stands in `compose`.

mod cli;
mod compose;
mod exit;

use std::process::ExitCode;

use clap::Parser;
use nimbus_config::{Environment, Loaded};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, Command, ServeArgs, serve::Greeting},
    compose::Signals,
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
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            eprintln!("nimbus: {error:#}");
            exit.into()
        }
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    let environment = Environment::of_process();
    match command {
        Command::Standalone(args) => serve(&environment, &args, false),
        Command::Dev(args) => serve(&environment, &args, true),
        Command::Client(args) => {
            let config = nimbus_config::load_client(&environment).or_exit(Exit::Usage)?;
            block_on(async { cli::client::run(args, config, interrupted()?).await })
        }
        Command::Load(args) => {
            let config = nimbus_config::load_client(&environment).or_exit(Exit::Usage)?;
            block_on(async { cli::load::run(args, config, interrupted()?).await })
        }
        Command::Data(args) => {
            let storage = nimbus_config::load_storage(&environment).or_exit(Exit::Usage)?;
            cli::data::run(&args, &storage.dir)
        }
        Command::Demo => block_on(async { cli::demo::run(interrupted()?).await }),
        Command::Config(args) => {
            let loaded = load(&environment)?;
            for warning in &loaded.warnings {
                eprintln!("nimbus: warning: {warning}");
            }
            cli::config::show(&loaded, &args)
        }
    }
}

fn serve(environment: &Environment, args: &ServeArgs, is_dev: bool) -> Result<Exit, Failure> {
    let loaded = load(environment)?;
    block_on(cli::serve::run(&loaded, Greeting::of(args, is_dev)))
}

/// Every problem at once, or the settings.
fn load(environment: &Environment) -> Result<Loaded, Failure> {
    nimbus_config::load(environment).or_exit(Exit::Usage)
}

fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_exit(Exit::Io)?;
    let ended = runtime.block_on(command);
    // Whatever had to end in good order has; a thread that blocks must not keep the process.
    runtime.shutdown_background();
    ended
}

/// Cancelled by the first signal.
fn interrupted() -> Result<CancellationToken, Failure> {
    let mut signals = Signals::of_process().or_exit(Exit::Io)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        signals.next().await;
        cancelled.cancel();
        // A command that does not end by itself is ended by the second one.
        signals.next().await;
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(token)
}
