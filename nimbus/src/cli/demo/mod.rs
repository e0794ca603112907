//! `nimbus demo`, which is what `make demo` runs: real processes, real kills, and a verdict that can fail.
//!
//! A server on a temporary directory; a client that sends numbers to `sq` and keeps its place in a file; in mid-run the
//! client is killed with SIGKILL and started again, then the server. At the end every square must be in the client's
//! results exactly once and in order. The exit code says whether it is.

pub(crate) mod distributed;
mod processes;
mod verdict;

use std::{path::Path, time::Duration};

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use self::{
    distributed::{DistributedArgs, StateFile},
    processes::{Client, Server},
    verdict::Verdict,
};
use super::style::Style;
use crate::exit::{Exit, Failure, OrExit};

/// How many numbers are sent: a few seconds' worth, since each is on the client's disk before it is sent.
const NUMBERS: u64 = 3000;
const KILL_CLIENT_AT: u64 = NUMBERS / 3;
const KILL_SERVER_AT: u64 = NUMBERS * 2 / 3;
/// How many squares are shown one by one after each start, and then which.
const SHOWN_FIRST: u64 = 5;
const SHOWN_EVERY: u64 = 500;
/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Subcommand)]
pub(crate) enum Kind {
    /// Many processes over Kafka and Redis, and clients that send until ctrl-c; then everything is counted
    Distributed(DistributedArgs),
    /// Kills one server and one consumers process of a running `nimbus demo distributed`
    KillOne(StateFile),
}

/// Runs one of the demonstrations; without a kind, the one that needs nothing else.
pub(crate) async fn run(kind: Option<Kind>, interrupted: CancellationToken) -> Result<Exit, Failure> {
    match kind {
        None => embedded(interrupted).await,
        Some(Kind::Distributed(args)) => distributed::run(args, interrupted).await,
        Some(Kind::KillOne(file)) => distributed::kill_one(&file),
    }
}

/// Runs the demonstration in a directory of its own, which is removed afterwards.
async fn embedded(interrupted: CancellationToken) -> Result<Exit, Failure> {
    let directory = Scratch::new().or_exit(Exit::Io)?;
    // Whatever way this ends, the processes are killed when their handles go.
    let verdict = tokio::select! {
        verdict = tokio::time::timeout(PATIENCE, demonstrate(directory.path())) => match verdict {
            Ok(verdict) => verdict?,
            Err(_) => return Err(Failure::new(Exit::Failed, format!("the demonstration hangs: not done after {PATIENCE:?}"))),
        },
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    println!("\n{verdict}");
    Ok(if verdict.is_good() { Exit::Done } else { Exit::Failed })
}

async fn demonstrate(directory: &Path) -> Result<Verdict, Failure> {
    let style = Style::of_stdout();
    let step = |text: &str| println!("\n{}", style.bold(text));

    step("1. A server with its log in one directory");
    let mut server = Server::start(directory, None).await?;
    println!("   nimbus dev listens on {}", server.grpc);

    step(&format!("2. A client sends the numbers 1 to {NUMBERS} to `sq`; the squares come back on the same stream"));
    let mut client = Client::start(directory, server.grpc, NUMBERS)?;
    show_until(&mut client, KILL_CLIENT_AT).await?;

    step("3. The client is killed (SIGKILL), in the middle of its work");
    let at = client.kill_midway().await?;
    println!("   it had {at} squares; its outbox file knows what it had sent, its results file what it had received");

    step("4. The client starts again, and goes on where it was");
    let mut client = Client::start(directory, server.grpc, NUMBERS)?;
    show_until(&mut client, KILL_SERVER_AT - at).await?;

    step("5. The server is killed (SIGKILL), and started again on the same directory; the client reconnects by itself");
    server.kill_midway().await?;
    let mut server = Server::start(directory, Some(server.ports())).await?;
    show_until(&mut client, u64::MAX).await?;
    let summary = client.finish().await?;

    step("6. Everything is counted");
    server.stop().await?;
    Verdict::read(&directory.join(processes::RESULTS), NUMBERS, summary).or_exit(Exit::Io)
}

/// Shows squares as they come until the client has this many since its start, or has ended.
async fn show_until(client: &mut Client, count: u64) -> Result<(), Failure> {
    while client.received < count {
        let Some((number, square)) = client.next_square().await? else { break };
        if client.received <= SHOWN_FIRST || number.is_multiple_of(SHOWN_EVERY) {
            println!("   sq({number}) = {square}");
        } else if client.received == SHOWN_FIRST + 1 {
            println!("   …");
        }
    }
    Ok(())
}

/// A temporary directory that goes when it is dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("nimbus-demo-{}", ulid::Ulid::generate()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("nimbus: {} is left behind: {error}", self.0.display());
        }
    }
}
