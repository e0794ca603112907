//! NATS with JetStream: one process on this machine, for what is compared with Nimbus. Nimbus itself does not use it.
//!
//! Everything is at its default: JetStream keeps its streams in files, and syncs them every two minutes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{Error, Result, home::Home, process::Process, tools};

const NAME: &str = "NATS";

/// A NATS. Dropping it kills the process, and removes its directory if that is a temporary one.
#[derive(Debug)]
pub struct Nats {
    address: String,
    // Before the directory: fields are dropped in this order, and a living NATS would write into it again.
    process: Process,
    _home: Home,
}

impl Nats {
    /// Starts a NATS on a free port of 127.0.0.1, and waits until it listens. Its log and its streams are in `data_dir`, which
    /// stays, or in a temporary directory.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if it is missing; otherwise it did not start, with the end of its log.
    pub fn start(data_dir: Option<&Path>) -> Result<Self> {
        let server = tools::nats_server()?;
        let home = Home::open(data_dir, "nats")?;
        let mut command = Command::new(server);
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream"]);
        command.arg("--store_dir").arg(home.path()).arg("--ports_file_dir").arg(home.path());
        let mut process = Process::spawn(NAME, command, &home.path().join("nats.log"), home.to_remove())?;
        let file = ports_file(home.path(), process.pid());
        let mut address = None;
        process.wait_until_ready(|_| {
            address = address_in(&file);
            address.is_some()
        })?;
        let address = address.ok_or(Error::NotRunning(NAME))?;
        Ok(Self { address, process, _home: home })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Whether there is a NATS to start.
///
/// # Errors
/// [`Error::is_unavailable`]: it is missing.
pub fn prepare() -> Result<()> {
    tools::nats_server().map(|_| ())
}

/// Where a NATS tells which ports it has got. It does so when it listens on all of them.
fn ports_file(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!("nats-server_{pid}.ports"))
}

#[derive(Debug, Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// Nothing: the file is not there, or not yet written to its end.
fn address_in(file: &Path) -> Option<String> {
    let ports: Ports = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    ports.nats.first()?.strip_prefix("nats://").map(str::to_owned)
}
