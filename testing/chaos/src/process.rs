//! One process of `nimbus`: its start, its signals, its end, and the file that everything it writes goes to.

use std::{
    ffi::OsStr,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nimbus_harness::{Metrics, until_ready};
use nimbus_services::Guard;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take to be ready or to end. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running process. Dropping it kills it, and so does the end of this process, however it ends.
#[derive(Debug)]
pub(crate) struct Nimbus {
    child: Child,
    pid: Pid,
    /// Dropped before the end of the child is collected, see there.
    guard: Option<Guard>,
    /// Of roles that serve clients.
    pub(crate) grpc: Option<SocketAddr>,
    admin: SocketAddr,
    log: PathBuf,
}

impl Nimbus {
    /// Starts a role on free ports and waits until it is up. What it writes is appended to `log`.
    pub(crate) async fn start<'a>(
        binary: &Path,
        role: &str,
        settings: impl Iterator<Item = (&'a str, &'a str)>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let open = || File::options().create(true).append(true).open(log);
        let errors = open().with_context(|| format!("{} cannot be opened", log.display()))?;
        let mut child = Command::new(binary)
            .args([role, "--json"])
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !is_ours(name)))
            .env("NIMBUS_PORT", "0")
            .env("NIMBUS_ADMIN_ADDR", "127.0.0.1:0")
            .envs(settings)
            // No .env file of whoever runs this.
            .current_dir(log.parent().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Out of reach of ctrl-c, which is for this process.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} could not be started", binary.display()))?;
        let pid = child.id().context("it ended at once")?;
        let guard = Guard::watch(pid, None)?;
        let mut stdout = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
        let line = match timeout(PATIENCE, stdout.next_line()).await {
            Ok(line) => line?,
            Err(_elapsed) => bail!("a {role} was not up within {PATIENCE:?}; see {}", log.display()),
        };
        let Some(line) = line else {
            drop(guard);
            let status = child.wait().await?;
            bail!("a {role} ended with {status} before it was up; see {}", log.display());
        };
        // It writes nothing more there; if it did, it must not fail for it.
        tokio::spawn(async move { while let Ok(Some(_)) = stdout.next_line().await {} });
        let up: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("its first line is {line}"))?;
        let address = |field: &str| -> anyhow::Result<SocketAddr> {
            Ok(up[field].as_str().with_context(|| format!("no {field} in {line}"))?.parse()?)
        };
        let grpc = (!up["grpc"].is_null()).then(|| address("grpc")).transpose()?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no pid")?;
        Ok(Self { child, pid, guard: Some(guard), grpc, admin: address("admin")?, log: log.to_owned() })
    }

    /// Waits until it should get work: one that consumes when its groups have taken it in.
    pub(crate) async fn until_ready(&self) -> anyhow::Result<()> {
        until_ready(self.admin).await.with_context(|| self.about("does not become ready"))
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.start_kill().with_context(|| self.about("could not be killed"))?;
        self.guard = None;
        self.child.wait().await?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.guard = None;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => match status? {
                status if status.success() => Ok(()),
                status => bail!("{}", self.about(&format!("ended with {status} when it was asked to end"))),
            },
            Err(_elapsed) => bail!("{}", self.about(&format!("did not end within {PATIENCE:?} of SIGTERM"))),
        }
    }

    /// Holds it still.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid, signal).with_context(|| self.about("could not be signalled"))
    }

    /// How it ended, if it has, although nobody asked it to.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::fetch(self.admin).await
    }

    pub(crate) async fn metric(&self, sample: &str) -> anyhow::Result<f64> {
        Metrics::fetch(self.admin).await?.get(sample)
    }

    fn about(&self, what: &str) -> String {
        format!("the process that writes {} {what}", self.log.display())
    }
}

/// Settings of whoever runs this must not reach what it runs.
fn is_ours(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("NIMBUS_")
}
