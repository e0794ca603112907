//! NATS JetStream doing the same work as embedded Nimbus, where there is a `nats-server`.
//!
//! A NATS of its own for each round, which keeps its streams in files of the disk that is measured.

use std::path::Path;

use anyhow::Context;
use nimbus_services::nats::{self, Nats};
use tokio::process::Command;

use super::{
    Plan,
    kind::Kind,
    loads,
    process::Process,
    report::Measured,
    server::{Server, address_in, files_in},
};

/// Whether there is a NATS to measure. Says so aloud where there is none.
pub(super) fn is_there() -> anyhow::Result<bool> {
    match nats::prepare() {
        Ok(()) => Ok(true),
        Err(error) if error.is_unavailable() => {
            eprintln!("WITHOUT NATS: {error}");
            Ok(false)
        }
        Err(error) => Err(error).context("NATS cannot be measured"),
    }
}

/// Puts it through every load.
pub(super) async fn measure(
    plan: &Plan,
    round: usize,
    directory: &Path,
    measured: &mut Vec<Measured>,
) -> anyhow::Result<()> {
    let files = files_in(directory)?;
    let streams = files.path().join("nats");
    let nats = tokio::task::spawn_blocking(move || Nats::start(Some(&streams))).await??;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["nats", "--nats", &nats.address()]);
    let (process, address) = Process::start("glue", command, address_in).await?;
    let mut server = Server::new(Kind::Nats, vec![process], address, files);
    server.uses = vec![("NATS", nats.pid())];
    for (protocol, shape) in loads() {
        measured.push(super::measure(plan, round, &server, protocol, shape).await?);
    }
    server.stop().await
}
