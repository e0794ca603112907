//! A short run over the real thing, and the program as scripts see it. What is asserted are books, reports and exit codes; never a time.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use nimbus_chaos::{Books, Config, Kind, Limit, News, Report, run};
use nimbus_harness::nimbus_binary;
use nimbus_services::shared;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// One of each sort: a crash of every role, a zombie, a lost Redis, the network on both sides, a full disk.
const KINDS: [Kind; 8] = [
    Kind::KillServer,
    Kind::KillExecutor,
    Kind::KillRouter,
    Kind::PauseRouter,
    Kind::RedisEmpty,
    Kind::ClientsHang,
    Kind::RedisCut,
    Kind::DiskFull,
];

/// Whether there is what a Kafka and a Redis of one's own are made of; says so aloud if not.
fn is_possible() -> bool {
    shared::kafka().is_some() && shared::redis().is_some()
}

fn read(out: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_short_run_of_faults_violates_nothing_and_reports_every_recovery() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let out = tempfile::tempdir()?;
    let config = Config {
        steady: Duration::from_secs(2),
        clients: 16,
        // Tests share the machine; what is proven does not depend on it.
        rate: 100.0,
        kinds: KINDS.to_vec(),
        ..Config::new(nimbus_binary()?, 1, Limit::Faults(KINDS.len()), out.path())
    };
    let report = run(&config, &CancellationToken::new(), |news| {
        if !matches!(news, News::Load { .. }) {
            println!("{news:?}");
        }
    })
    .await?;
    report.write(out.path())?;
    if !report.is_clean() {
        // A directory that is gone explains nothing.
        let kept = out.keep();
        panic!("logs and data are kept in {}\n{}", kept.display(), report.markdown());
    }
    let Books { sent, answered, .. } = report.books;
    assert!(sent == answered && sent > 0, "{:?}", report.books);
    assert_eq!(report.books.violations(), 0);
    let read = read(out.path());
    let mut kinds: Vec<_> = read.faults.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, KINDS, "every kind once");
    let text = std::fs::read_to_string(out.path().join("report.md"))?;
    for fault in &read.faults {
        assert!(fault.course.answered_s.is_some(), "{fault:?}");
        assert!(text.contains(fault.kind.name()));
    }
    let picture = std::fs::read_to_string(out.path().join("timeline.svg"))?;
    assert!(KINDS.iter().all(|kind| picture.contains(kind.name())));
    Ok(())
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nimbus-chaos"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn output(args: &[&str]) -> anyhow::Result<Output> {
    Ok(timeout(PATIENCE, program(args).output()).await??)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_it_with_130_and_the_report_so_far() -> anyhow::Result<()> {
    if !is_possible() {
        return Ok(());
    }
    let out = tempfile::tempdir()?;
    let (nimbus, path) = (nimbus_binary()?.to_str().unwrap(), out.path().to_str().unwrap());
    let args = ["--nimbus", nimbus, "--out", path, "--seed", "1", "--only", "clients-cut", "--rate", "50"];
    let mut child = program(&args).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await?? {
        if line.contains("clients-cut") {
            break;
        }
    }
    kill_process(Pid::from_raw(i32::try_from(child.id().unwrap())?).unwrap(), Signal::INT)?;
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let output = timeout(PATIENCE, child.wait_with_output()).await??;
    reading.await?;
    assert_eq!(output.status.code(), Some(130));
    let report = read(out.path());
    assert!(report.interrupted && report.books.sent > 0 && report.books.violations() == 0, "{:?}", report.books);
    assert!(std::fs::read_dir(out.path())?.all(|entry| !entry.unwrap().path().is_dir()), "data is left behind");
    Ok(())
}

#[tokio::test]
async fn the_help_teaches_every_fault_and_what_is_wrong_is_said_with_64() -> anyhow::Result<()> {
    let help = output(&["--help"]).await?;
    let text = String::from_utf8(help.stdout)?;
    assert!(help.status.success() && Kind::ALL.iter().all(|kind| text.contains(kind.name())), "{text}");
    for wrong in [["--only", "flood"], ["--minutes", "0"], ["--clients", "0"], ["--rate", "fast"]] {
        assert_eq!(output(&wrong).await?.status.code(), Some(64), "{wrong:?}");
    }
    let missing = output(&["--nimbus", "/nowhere/nimbus"]).await?;
    let text = String::from_utf8(missing.stderr)?;
    assert!(missing.status.code() == Some(69) && text.contains("cargo build"), "{text}");
    Ok(())
}
