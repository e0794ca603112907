//! A server in a process of its own, with a directory of its own.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::LISTENING;

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Baseline,
    Nimbus,
}

/// A running server. Killed when dropped; its files are removed.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    child: Child,
    address: String,
    _files: TempDir,
}

impl Server {
    pub(super) async fn start(kind: Kind, nimbus: &Path, directory: &Path) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("nimbus-bench-").tempdir_in(directory)?;
        let mut command = match kind {
            Kind::Baseline => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("baseline").arg("--directory").arg(files.path());
                command
            }
            Kind::Nimbus => {
                // The directory of the process is another one.
                let mut command = Command::new(nimbus.canonicalize()?);
                // Every setting at its default, except where it listens and writes; what it logs is not measured.
                command
                    .arg("standalone")
                    .env_clear()
                    .env("NIMBUS_PORT", "0")
                    .env("NIMBUS_ADMIN_ADDR", "off")
                    .env("NIMBUS_LOG", "warn")
                    .env("NIMBUS_DATA_DIR", files.path().join("data"))
                    .current_dir(files.path());
                command
            }
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return Ok(address.trim().to_owned());
                }
            }
            bail!("{kind:?} ended before it listened")
        })
        .await
        .with_context(|| format!("{kind:?} did not listen within {START_TIMEOUT:?}"))??;
        // Read on, so that the process never waits for somebody to read what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { kind, child, address, _files: files })
    }

    pub(super) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its resident memory, in KiB.
    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let number = line.split_whitespace().nth(1).context("VmRSS has no number")?;
        Ok(number.parse()?)
    }

    /// Ends it. It must not have ended before.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{:?} ended by itself: {status}", self.kind);
        }
        self.child.kill().await?;
        Ok(())
    }
}
