//! The command line as scripts see it: exit codes, what goes to which stream, and no secret in either.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Output, Stdio},
};

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, TestNimbus, nimbus_binary};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

pub(crate) fn command<I: AsRef<OsStr>>(directory: &Path, args: impl IntoIterator<Item = I>) -> anyhow::Result<Command> {
    let mut command = Command::new(nimbus_binary()?);
    let ours = |name: &OsStr| name.to_string_lossy().starts_with("NIMBUS_");
    command.args(args).env_clear().envs(std::env::vars_os().filter(|(name, _)| !ours(name)));
    command.current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

pub(crate) async fn nimbus<I: AsRef<OsStr>>(
    args: impl IntoIterator<Item = I>,
    env: &[(&str, &str)],
) -> anyhow::Result<Output> {
    let directory = tempfile::tempdir()?;
    let mut command = command(directory.path(), args)?;
    Ok(timeout(PATIENCE, command.envs(env.iter().copied()).output()).await.context("it does not end")??)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What ctrl-c does.
pub(crate) fn interrupt(process: &Child) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(process.id().context("it has ended")?)?).context("no pid")?;
    Ok(kill_process(pid, Signal::INT)?)
}

fn lines<R: AsyncRead + Unpin>(stream: Option<R>) -> anyhow::Result<Lines<BufReader<R>>> {
    Ok(BufReader::new(stream.context("it is piped")?).lines())
}

/// A command that runs, with both of its streams.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) stderr: Lines<BufReader<ChildStderr>>,
    pub(crate) _directory: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = command(directory.path(), args)?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = (lines(child.stdout.take())?, lines(child.stderr.take())?);
        Ok(Self { child, stdout, stderr, _directory: directory })
    }

    /// Waits for its end: the exit code, and what was left in its streams.
    pub(crate) async fn end(mut self) -> anyhow::Result<(Option<i32>, Vec<String>, Vec<String>)> {
        timeout(PATIENCE, async {
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            while let Some(line) = self.stdout.next_line().await? {
                out.push(line);
            }
            while let Some(line) = self.stderr.next_line().await? {
                errors.push(line);
            }
            Ok((self.child.wait().await?.code(), out, errors))
        })
        .await
        .context("it does not end")?
    }
}

#[tokio::test]
async fn every_configuration_problem_is_told_at_once_with_exit_64_and_no_secret() -> anyhow::Result<()> {
    let wrong = [
        ("NIMBUS_PORT", "many"),
        ("NIMBUS_AUTH_TOKENS", "alice hush-hush"),
        ("NIMBUS_SESSION_PING_INTERVAL", "25"),
        ("NIMBUS_AUTH_TOKEN", "hush-hush"),
    ];
    for args in [["standalone"], ["dev"], ["config"]] {
        let output = nimbus(args, &wrong).await?;
        assert_eq!(output.status.code(), Some(64));
        let text = stderr(&output);
        assert!(text.contains("4 configuration problems"), "{text}");
        assert!(text.contains("did you mean NIMBUS_AUTH_TOKENS?"), "{text}");
        assert!(!text.contains("hush-hush") && stdout(&output).is_empty(), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn config_shows_values_with_their_source_and_hides_secrets() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join(".env"), "NIMBUS_PORT=6000\nNIMBUS_LOG=debug\n")?;
    let mut command = command(directory.path(), ["config", "--json"])?;
    command.env("NIMBUS_LOG", "warn").env("NIMBUS_CLIENT_TOKEN", "hush-hush");
    let output = command.output().await?;
    assert!(output.status.success(), "{}", stderr(&output));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let of = |name: &str| {
        let entries = shown["settings"].as_array().into_iter().flatten();
        let found = entries.into_iter().find(|entry| entry["name"] == name).cloned().unwrap_or_default();
        (found["value"].clone(), found["source"].clone())
    };
    assert_eq!(of("NIMBUS_PORT"), ("6000".into(), ".env".into()));
    assert_eq!(of("NIMBUS_LOG"), ("warn".into(), "environment".into()));
    assert_eq!(of("NIMBUS_DATA_DIR"), ("./data".into(), "default".into()));
    assert_eq!(of("NIMBUS_CLIENT_TOKEN"), ("(hidden)".into(), "environment".into()));
    assert!(!stdout(&output).contains("hush-hush"));
    Ok(())
}

#[tokio::test]
async fn help_succeeds_and_lists_the_exit_codes_and_a_wrong_argument_is_64() -> anyhow::Result<()> {
    let output = nimbus(["--help"], &[]).await?;
    assert!(output.status.success() && stdout(&output).contains("130"), "{}", stdout(&output));
    assert_eq!(nimbus(["client", "--start", "x"], &[]).await?.status.code(), Some(64));
    assert_eq!(nimbus(["client", "--start", "5", "--end", "4"], &[]).await?.status.code(), Some(64));
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_server_that_is_not_there_are_69() -> anyhow::Result<()> {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = taken.local_addr()?.port().to_string();
    let output = nimbus(["standalone"], &[("NIMBUS_PORT", &port), ("NIMBUS_ADMIN_ADDR", "off")]).await?;
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("the setting is NIMBUS_PORT"), "{}", stderr(&output));
    drop(taken);
    let address = format!("127.0.0.1:{port}");
    let output = nimbus(["client", "--addr", &address, "send", "echo", "x"], &[]).await?;
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("`nimbus dev` starts one"), "{}", stderr(&output));
    Ok(())
}

#[tokio::test]
async fn in_a_pipe_answers_are_plain_lines_and_nothing_else() -> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    let output = nimbus(["client", "--addr", &addr, "--client_id", "a", "--start", "1", "--end", "3"], &[]).await?;
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "sq(1) = 1\nsq(2) = 4\nsq(3) = 9\n".to_owned()));
    assert!(stderr(&output).contains("3 answers"), "{}", stderr(&output));

    // The original's flag with an underscore, and the same with a dash.
    let output = nimbus(["client", "send", "echo", "x", "y", "--addr", &addr, "--client-id", "b"], &[]).await?;
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "#1 echo: x\n#2 echo: y\n".to_owned()));

    let env = [("NIMBUS_CLIENT_ADDR", addr.as_str())];
    let output = nimbus(["client", "--json", "send", "sq", "3037000500"], &env).await?;
    assert_eq!(output.status.code(), Some(1), "an event failed");
    let lines: Vec<serde_json::Value> = stdout(&output).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines[0]["error"]["reason"], "RESULT_OUT_OF_RANGE");
    assert_eq!((&lines[1]["kind"], &lines[1]["failed"]), (&"summary".into(), &1.into()));
    Ok(())
}

#[tokio::test]
async fn with_a_file_for_its_outbox_a_range_is_sent_once_however_often_it_is_started() -> anyhow::Result<()> {
    let server = TestNimbus::builder().start().await?;
    let addr = server.addr().to_string();
    let directory = tempfile::tempdir()?;
    let args = ["client", "--addr", &addr, "--outbox", "o", "--results", "r", "--start", "5", "--end", "24"];
    for expected in ["20 answers", "0 answers"] {
        let output = command(directory.path(), args)?.output().await?;
        assert!(output.status.success() && stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let results = std::fs::read_to_string(directory.path().join("r"))?;
    let last: serde_json::Value = serde_json::from_str(results.lines().last().context("no results")?)?;
    assert_eq!((results.lines().count(), &last["result"]), (20, &576.into()));
    Ok(())
}

/// What `make demo` runs: it kills real processes, and its exit code is its verdict.
#[tokio::test]
async fn the_demonstration_ends_by_itself_and_finds_nothing_lost_or_repeated() -> anyhow::Result<()> {
    let output = nimbus(["demo"], &[]).await?;
    let shown = stdout(&output);
    assert!(output.status.success(), "{shown}{}", stderr(&output));
    for line in ["sq(1) = 1", "sent          3000", "lost          0", "Nothing was lost or repeated."] {
        assert!(shown.contains(line), "{line} is missing in:\n{shown}");
    }
    Ok(())
}

/// The way on that a refusal to start names: check says where, repair keeps the rest, and the server starts again.
#[tokio::test]
async fn a_damaged_directory_is_refused_with_65_and_repair_is_the_way_on() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let mut server = TestNimbus::builder().data_dir(&data).start().await?;
    let addr = server.addr().to_string();
    let output = nimbus(["client", "--addr", &addr, "--start", "1", "--end", "50"], &[]).await?;
    assert!(output.status.success(), "{}", stderr(&output));
    server.terminate()?;
    assert!(server.wait(PATIENCE).await?.success());

    let dir = data.to_string_lossy().into_owned();
    let tool = async |action: &str| nimbus(["data", action, "--data-dir", &dir], &[]).await;
    let output = tool("check").await?;
    assert!(output.status.success() && stdout(&output).contains("events: 50 records"), "{}", stdout(&output));

    let segment = data.join("segments/00000000000000000001.log");
    let mut bytes = std::fs::read(&segment)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes)?;
    let output = tool("check").await?;
    assert_eq!(output.status.code(), Some(65));
    assert!(stdout(&output).contains("DAMAGE segments/00000000000000000001.log at byte"), "{}", stdout(&output));
    let env = [("NIMBUS_DATA_DIR", dir.as_str()), ("NIMBUS_PORT", "0"), ("NIMBUS_ADMIN_ADDR", "off")];
    let output = nimbus(["standalone"], &env).await?;
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("nimbus data repair"), "{}", stderr(&output));

    let output = tool("repair").await?;
    assert!(output.status.success() && stdout(&output).contains("kept as it was"), "{}", stdout(&output));
    assert!(tool("check").await?.status.success());
    server.restart().await?;
    let output = nimbus(["data", "erase", "nimbus-cli", "--data-dir", &dir], &[]).await?;
    assert_eq!(output.status.code(), Some(64), "it asks for --yes");
    let output = nimbus(["data", "erase", "nimbus-cli", "--yes", "--data-dir", &dir], &[]).await?;
    assert_eq!(output.status.code(), Some(69), "a server uses the directory: {}", stderr(&output));
    Ok(())
}

#[tokio::test]
async fn a_client_shows_its_token_and_a_listening_one_ends_on_ctrl_c() -> anyhow::Result<()> {
    let tokens = "alice 0123456789abcdef phone-*";
    let server = TestNimbus::builder().env("NIMBUS_AUTH_TOKENS", tokens).start().await?;
    let addr = server.addr().to_string();
    let output = nimbus(["client", "--addr", &addr, "--client_id", "phone-1", "send", "echo", "x"], &[]).await?;
    assert_eq!(output.status.code(), Some(77), "no token: {}", stderr(&output));
    assert!(stderr(&output).contains("NIMBUS_CLIENT_TOKEN"), "{}", stderr(&output));
    let token = [("NIMBUS_CLIENT_TOKEN", "0123456789abcdef")];
    let output = nimbus(["client", "--addr", &addr, "--client_id", "tablet-1", "send", "echo", "x"], &token).await?;
    assert_eq!(output.status.code(), Some(77), "not its client id: {}", stderr(&output));
    let output = nimbus(["load", "--addr", &addr, "--events", "1"], &[]).await?;
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("Unauthenticated") && said.contains("NIMBUS_CLIENT_TOKEN"), "{said}");
    assert!(!said.contains("is a server running"), "{said}");

    let directory = tempfile::tempdir()?;
    let mut listening = command(directory.path(), ["client", "--json", "--addr", &addr, "--client_id", "phone-1"])?;
    let mut listening = listening.env("NIMBUS_CLIENT_TOKEN", "0123456789abcdef").stdout(Stdio::piped()).spawn()?;
    server.wait_for_metric("nimbus_sessions_open", |open| open == 1.0).await?;
    interrupt(&listening)?;
    let mut lines = BufReader::new(listening.stdout.take().context("stdout is piped")?).lines();
    let summary = timeout(PATIENCE, lines.next_line()).await??.context("no summary")?;
    assert!(summary.contains(r#""kind":"summary""#), "{summary}");
    assert!(timeout(PATIENCE, listening.wait()).await??.success());
    Ok(())
}

/// Runs the binary as if it lay in this directory, with what lies there beside it.
async fn within(directory: &Path, args: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(directory.join("nimbus"));
    Ok(timeout(PATIENCE, command.args(args).current_dir(directory).output()).await.context("it does not end")??)
}

#[tokio::test]
async fn chaos_runs_the_program_beside_it_and_says_what_to_do_when_there_is_none() -> anyhow::Result<()> {
    let binary = nimbus_binary()?;
    // A link, for which both must be on one file system; and nothing is written that is about to be run.
    let directory = tempfile::tempdir_in(binary.parent().context("a binary lies somewhere")?)?;
    std::fs::hard_link(binary, directory.path().join("nimbus"))?;
    let output = within(directory.path(), &["chaos", "--help"]).await?;
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("make chaos") && stdout(&output).is_empty(), "{}", stderr(&output));

    let program = directory.path().join("nimbus-chaos");
    std::os::unix::fs::symlink("/bin/echo", &program)?;
    let output = within(directory.path(), &["chaos", "--help", "--minutes", "1", "--json"]).await?;
    assert_eq!(stdout(&output), "--help --minutes 1 --json\n");
    std::fs::remove_file(&program)?;
    std::os::unix::fs::symlink("/bin/false", &program)?;
    assert_eq!(within(directory.path(), &["chaos"]).await?.status.code(), Some(1), "its exit code is ours");
    Ok(())
}
