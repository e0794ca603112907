//! A process of a server: started, waited for, looked at, ended.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    child: Child,
}

impl Process {
    /// Starts it, and waits for the line of its standard output that `ready` understands.
    pub(super) async fn start<T>(
        name: impl Into<String>,
        mut command: Command,
        ready: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let name = name.into();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = spawned.with_context(|| format!("{name} could not be started"))?;
        let stdout = child.stdout.take().context("the process has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let said = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(said) = ready(&line) {
                    return Ok(said);
                }
            }
            bail!("{name} ended before it was ready; what it wrote to standard error is above")
        });
        let said = said.await.with_context(|| format!("{name} was not ready within {START_TIMEOUT:?}"))??;
        // Read on, so that the process never waits for somebody to read what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok((Self { name, child }, said))
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Its resident memory, in KiB.
    pub(super) fn resident_kib(&self) -> anyhow::Result<f64> {
        nimbus_loadtest::resident_kib(self.pid()?).with_context(|| format!("no memory of {} is told", self.name))
    }

    /// CPU time that it has used, in seconds.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        nimbus_loadtest::cpu_seconds(self.pid()?).with_context(|| format!("no CPU time of {} is told", self.name))
    }

    /// Ends it. It must not have ended before.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}", self.name);
        }
        self.child.kill().await?;
        Ok(())
    }
}
