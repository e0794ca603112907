//! The processes of the demonstration: this same binary, as a server and as a client.

use std::{net::SocketAddr, path::Path, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::exit::{Exit, Failure, OrExit};

/// The client's files, in the demonstration's directory.
pub(super) const RESULTS: &str = "results.jsonl";
const OUTBOX: &str = "client.outbox";
const DATA: &str = "data";

/// This binary, with nothing of the caller's settings.
pub(super) fn command(directory: &Path, args: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe().or_exit(Exit::Io)?);
    command.args(args).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    // What the caller has set for a server of its own must not reach this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NIMBUS_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn spawn(mut command: Command) -> Result<(Child, Lines<BufReader<ChildStdout>>), Failure> {
    let mut child = command.spawn().or_exit(Exit::Io)?;
    let stdout = child.stdout.take().expect("standard output was asked for as a pipe");
    Ok((child, BufReader::new(stdout).lines()))
}

/// A server of whatever role that is ready, what it said then, and the rest of what it says.
pub(super) type Ready = (Child, Value, Lines<BufReader<ChildStdout>>);

/// Starts a server of whatever role and waits until it says that it is ready.
pub(super) async fn until_ready(command: Command, what: &str) -> Result<Ready, Failure> {
    let (child, mut stdout) = spawn(command)?;
    let Some(line) = stdout.next_line().await.or_exit(Exit::Io)? else {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("the {what} ended before it was ready; it says why above"),
        ));
    };
    Ok((child, json(&line)?, stdout))
}

/// An address in what a server said when it was ready.
pub(super) fn address(ready: &Value, field: &str) -> Result<SocketAddr, Failure> {
    let address = ready[field].as_str().and_then(|text| text.parse().ok());
    address.ok_or_else(|| Failure::new(Exit::Failed, format!("no {field} in {ready}")))
}

/// Ends a process as a supervisor would, and waits for that.
pub(super) async fn stop(child: &mut Child, what: &str) -> Result<(), Failure> {
    let Some(pid) = child.id() else {
        return Err(Failure::new(Exit::Failed, format!("the {what} ended by itself")));
    };
    // The standard library and tokio send SIGKILL only.
    let kill = Command::new("kill").arg(pid.to_string()).status().await.or_exit(Exit::Io)?;
    let ended = child.wait().await.or_exit(Exit::Io)?;
    if kill.success() && ended.success() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, format!("the {what} did not end in good order: {ended}")))
    }
}

fn json(line: &str) -> Result<Value, Failure> {
    serde_json::from_str(line).or_exit(Exit::Failed)
}

/// `nimbus dev`.
pub(super) struct Server {
    child: Child,
    pub(super) grpc: SocketAddr,
    admin: SocketAddr,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts it on free ports, or on those of an earlier one, and waits until it is ready.
    pub(super) async fn start(directory: &Path, ports: Option<(u16, SocketAddr)>) -> Result<Self, Failure> {
        let mut command = command(directory, &["dev", "--json"])?;
        let (port, admin) = ports.map_or((0, "127.0.0.1:0".to_owned()), |(port, admin)| (port, admin.to_string()));
        command.env("NIMBUS_PORT", port.to_string()).env("NIMBUS_ADMIN_ADDR", admin);
        command.env("NIMBUS_DATA_DIR", directory.join(DATA)).env("NIMBUS_LOG", "error");
        let (child, ready, stdout) = until_ready(command, "server").await?;
        Ok(Self { child, grpc: address(&ready, "grpc")?, admin: address(&ready, "admin")?, _stdout: stdout })
    }

    pub(super) const fn ports(&self) -> (u16, SocketAddr) {
        (self.grpc.port(), self.admin)
    }

    pub(super) async fn kill_midway(&mut self) -> Result<(), Failure> {
        kill_midway(&mut self.child, "server").await
    }

    /// Ends it as ctrl-c would, and waits for that.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        stop(&mut self.child, "server").await
    }
}

/// `nimbus client` with a file for its outbox and one for its results.
pub(super) struct Client {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Squares since its start.
    pub(super) received: u64,
    summary: Value,
}

impl Client {
    pub(super) fn start(directory: &Path, server: SocketAddr, numbers: u64) -> Result<Self, Failure> {
        let (server, numbers) = (server.to_string(), numbers.to_string());
        let args =
            ["client", "--json", "--client_id", "demo-phone", "--addr", &server, "--start", "1", "--end", &numbers];
        let mut command = command(directory, &args)?;
        command.args(["--outbox", OUTBOX, "--results", RESULTS]);
        let (child, stdout) = spawn(command)?;
        Ok(Self { child, stdout, received: 0, summary: Value::Null })
    }

    /// The next square; `None` when the client has ended. Numbers begin at 1, so event number n is about n.
    pub(super) async fn next_square(&mut self) -> Result<Option<(u64, Value)>, Failure> {
        while let Some(line) = self.stdout.next_line().await.or_exit(Exit::Io)? {
            let entry = json(&line)?;
            match entry["kind"].as_str() {
                Some("answer") => {
                    self.received += 1;
                    return Ok(Some((entry["seq"].as_u64().unwrap_or_default(), entry["result"].clone())));
                }
                Some("summary") => self.summary = entry,
                _ => println!("   {line}"),
            }
        }
        Ok(None)
    }

    /// Kills it, and returns how many squares it had shown.
    pub(super) async fn kill_midway(mut self) -> Result<u64, Failure> {
        kill_midway(&mut self.child, "client").await?;
        while self.next_square().await?.is_some() {}
        Ok(self.received)
    }

    /// Waits for its end and returns its summary.
    pub(super) async fn finish(mut self) -> Result<Value, Failure> {
        while self.next_square().await?.is_some() {}
        let ended = self.child.wait().await.or_exit(Exit::Io)?;
        if ended.success() {
            Ok(self.summary)
        } else {
            Err(Failure::new(Exit::Failed, format!("the client failed: {ended}")))
        }
    }
}

async fn kill_midway(child: &mut Child, what: &str) -> Result<(), Failure> {
    if let Some(ended) = child.try_wait().or_exit(Exit::Io)? {
        return Err(Failure::new(Exit::Failed, format!("the {what} ended before it could be killed: {ended}")));
    }
    child.kill().await.or_exit(Exit::Io)
}
