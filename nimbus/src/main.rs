//! The `nimbus` binary: reads the command line and the settings, runs one command, and exits with a code that says how it
//! went. What a server is made of stands in `compose`.

mod cli;
mod compose;
mod exit;

use std::process::ExitCode;

use clap::Parser;
use nimbus_config::{ConfigError, Environment, Loaded, LoadedPart, Warning};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, ClientAction, ClientArgs, Command, ServeArgs, serve::Greeting},
    compose::{Role, Signals},
    exit::{Exit, Failure, OrExit, OrUnread, tell},
};

/// Thousands of connections that come back in one moment were served a fifth sooner than with the C library's (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way as well; clap knows which stream they belong to.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return error.print().or_unread().map_or_else(|failure| failure.exit, |()| exit).into();
        }
    };
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(Failure { exit, error }) => {
            // Who closes a pipe knows it.
            if exit != Exit::Unread {
                tell(format_args!("nimbus: {error:#}"));
            }
            exit.into()
        }
    }
}

fn run(command: Command) -> Result<Exit, Failure> {
    let environment = Environment::of_process();
    match command {
        Command::Standalone(args) => serve(Role::Standalone, &environment, &args, false),
        Command::Dev(args) => serve(Role::Standalone, &environment, &args, true),
        Command::Server(args) => serve(Role::Server, &environment, &args, false),
        Command::Executor(args) => serve(Role::Executor, &environment, &args, false),
        Command::Router(args) => serve(Role::Router, &environment, &args, false),
        Command::Consumers(args) => serve(Role::Consumers, &environment, &args, false),
        Command::Client(args) => client(args, &environment),
        Command::Load(args) => {
            let config = part(nimbus_config::load_client(&environment))?;
            block_on(async { cli::load::run(*args, config, interrupted()?).await })
        }
        Command::Data(args) => {
            let storage = part(nimbus_config::load_storage(&environment))?;
            cli::data::run(&args, &storage.dir)
        }
        Command::Dlq(args) => {
            let loaded = load(&environment)?;
            warn(&loaded.warnings);
            block_on(cli::dlq::run(&args, &loaded))
        }
        Command::Doctor(args) => block_on(cli::doctor::run(&args, nimbus_config::load(&environment))),
        Command::Topics(args) => {
            let loaded = load(&environment)?;
            warn(&loaded.warnings);
            block_on(cli::topics::run(&args, &loaded.config))
        }
        Command::Demo { kind } => block_on(async { cli::demo::run(kind, interrupted()?).await }),
        Command::Chaos { args } => match cli::chaos::run(&args)? {},
        Command::Config(args) => {
            let loaded = load(&environment)?;
            warn(&loaded.warnings);
            cli::config::show(&loaded, &args)
        }
    }
}

fn client(mut args: ClientArgs, environment: &Environment) -> Result<Exit, Failure> {
    let talk = match args.action.take() {
        Some(ClientAction::Show { id }) => {
            let loaded = load(environment)?;
            warn(&loaded.warnings);
            return block_on(cli::client::show::run(&id, args.connection.json, &loaded.config));
        }
        Some(ClientAction::Talk(talk)) => Some(talk),
        None => None,
    };
    let config = part(nimbus_config::load_client(environment))?;
    block_on(async { cli::client::run(args, talk, config, interrupted()?).await })
}

fn serve(role: Role, environment: &Environment, args: &ServeArgs, is_dev: bool) -> Result<Exit, Failure> {
    let loaded = load(environment)?;
    nimbus_consumers::keep_panics_of_executors();
    block_on(cli::serve::run(role, &loaded, Greeting::of(args, is_dev)))
}

/// Every problem at once, or the settings.
fn load(environment: &Environment) -> Result<Loaded, Failure> {
    nimbus_config::load(environment).or_exit(Exit::Usage)
}

/// What a command needs of the settings, with a word about names that are none.
fn part<T>(loaded: Result<LoadedPart<T>, ConfigError>) -> Result<T, Failure> {
    let LoadedPart { config, warnings } = loaded.or_exit(Exit::Usage)?;
    warn(&warnings);
    Ok(config)
}

fn warn(warnings: &[Warning]) {
    for warning in warnings {
        tell(format_args!("nimbus: warning: {warning}"));
    }
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
