//! One process: a whole server, or one role of a distributed one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    PATIENCE,
    binary::{is_ours, nimbus_binary},
    metrics::{LOOK_AGAIN, Metrics},
};

/// How many lines of a server's output are kept for a failing test.
const KEPT_LINES: usize = 400;

/// What a server is started with.
#[derive(Debug)]
pub struct Builder {
    role: String,
    settings: BTreeMap<String, String>,
    data_dir: Option<PathBuf>,
}

impl Builder {
    /// Sets one setting, by its environment name.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// Starts this role instead of everything in one process.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        role.clone_into(&mut self.role);
        self
    }

    /// Uses this directory instead of a fresh one.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// It ended or did not become ready; its output is in the message.
    pub async fn start(self) -> anyhow::Result<TestNimbus> {
        let (keep, data_dir) = match self.data_dir {
            Some(dir) => (None, dir),
            None => {
                let dir = tempfile::Builder::new().prefix("nimbus-test-").tempdir()?;
                let data = dir.path().join("data");
                (Some(dir), data)
            }
        };
        let process = Process::start(&self.role, &self.settings, &data_dir, None).await?;
        Ok(TestNimbus { role: self.role, settings: self.settings, data_dir, _keep: keep, process: Some(process) })
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct TestNimbus {
    role: String,
    settings: BTreeMap<String, String>,
    data_dir: PathBuf,
    _keep: Option<TempDir>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Of roles that serve clients.
    grpc: Option<SocketAddr>,
    admin: SocketAddr,
    output: Arc<Mutex<Vec<String>>>,
}

impl TestNimbus {
    /// A server with the defaults, but for its data directory and ports.
    pub fn builder() -> Builder {
        Builder { role: "standalone".to_owned(), settings: BTreeMap::new(), data_dir: None }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the server runs between its start and the end of the test")
    }

    /// Where gRPC is served; stays the same over restarts. Only of roles that serve clients.
    pub fn addr(&self) -> SocketAddr {
        self.process().grpc.expect("this role serves clients")
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Where the admin endpoints are served.
    pub fn admin(&self) -> SocketAddr {
        self.process().admin
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The process id.
    ///
    /// # Errors
    /// The process has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process().child.id().context("the server has ended")
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(self.url())?.connect().await?)
    }

    /// What the server counts right now.
    ///
    /// # Errors
    /// The admin endpoint cannot be reached.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::fetch(self.admin()).await
    }

    /// Resident memory of the server, in bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().next().context("an empty VmRSS")?.parse()?;
        Ok(kib * 1024)
    }

    /// Kills the server as a crash would, and starts it again on the same port and data.
    ///
    /// # Errors
    /// It could not be started again.
    pub async fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.crash().await?;
        self.restart().await
    }

    /// Kills the server as a crash would.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_mut().expect("the server runs between its start and the end of the test");
        ensure!(process.child.try_wait()?.is_none(), "the server ended by itself:\n{}", process.output());
        process.child.kill().await.context("the server could not be killed")
    }

    /// Starts the server again after it ended, on the same port and data.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let ports = (self.process().grpc, self.process().admin);
        self.process = Some(Process::start(&self.role, &self.settings, &self.data_dir, Some(ports)).await?);
        Ok(())
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// The process has ended.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("no pid")?;
        kill_process(pid, Signal::TERM).context("SIGTERM could not be sent")
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// It did not within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let process = self.process.as_mut().expect("the server runs between its start and the end of the test");
        match timeout(limit, process.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_elapsed) => bail!("the server did not end within {limit:?}:\n{}", process.output()),
        }
    }

    /// Waits until what the server wrote is what the test waits for.
    ///
    /// # Errors
    /// It did not become so in time.
    pub async fn wait_for_output(&self, reached: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let output = self.output();
            if reached(&output) {
                return Ok(output);
            }
            ensure!(tokio::time::Instant::now() < deadline, "it never came within {PATIENCE:?}:\n{output}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What the server wrote lately.
    pub fn output(&self) -> String {
        self.process().output()
    }
}

impl Process {
    async fn start(
        role: &str,
        settings: &BTreeMap<String, String>,
        data_dir: &Path,
        ports: Option<(Option<SocketAddr>, SocketAddr)>,
    ) -> anyhow::Result<Self> {
        let (port, admin) = match ports {
            Some((grpc, admin)) => (grpc.map_or(0, |grpc| grpc.port()), admin.to_string()),
            None => (0, "127.0.0.1:0".to_owned()),
        };
        let mut child = Command::new(nimbus_binary()?)
            .args([role, "--json"])
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !is_ours(name)))
            .env("NIMBUS_PORT", port.to_string())
            .env("NIMBUS_ADMIN_ADDR", admin)
            .env("NIMBUS_DATA_DIR", data_dir)
            .envs(settings)
            // No .env file of whoever runs the tests.
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("nimbus could not be started")?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().context("stderr is piped")?);
        let errors = tokio::spawn(keep(stderr.lines(), Arc::clone(&output)));
        let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let ready = timeout(PATIENCE, stdout.next_line()).await;
        let line = match ready {
            Ok(line) => line.context("stdout")?,
            Err(_elapsed) => bail!("the server was not ready within {PATIENCE:?}:\n{}", text(&output)),
        };
        let Some(line) = line else {
            let status = child.wait().await?;
            errors.await?;
            bail!("the server ended with {status} before it was ready:\n{}", text(&output));
        };
        tokio::spawn(keep(stdout, Arc::clone(&output)));
        let ready: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the ready line is {line}"))?;
        let address = |field: &str| -> anyhow::Result<SocketAddr> {
            Ok(ready[field].as_str().with_context(|| format!("no {field} in {line}"))?.parse()?)
        };
        let grpc = (!ready["grpc"].is_null()).then(|| address("grpc")).transpose()?;
        Ok(Self { grpc, admin: address("admin")?, child, output })
    }

    fn output(&self) -> String {
        text(&self.output)
    }
}

async fn keep<R: tokio::io::AsyncBufRead + Unpin>(mut lines: tokio::io::Lines<R>, output: Arc<Mutex<Vec<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let mut kept = output.lock().expect("no test panics while it holds the output");
        if kept.len() == KEPT_LINES {
            kept.remove(0);
        }
        kept.push(line);
    }
}

fn text(output: &Mutex<Vec<String>>) -> String {
    output.lock().expect("no test panics while it holds the output").join("\n")
}
