//! Every scenario with few clients and short windows, and the subcommand as scripts see it. What is asserted are books, reports, that
//! everybody came back, and exit codes; never a time.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use nimbus_chaos::{Books, Conditions, Misfit, News, On, SCENARIOS_SCHEMA, Scenario, Scenarios, play};
use nimbus_harness::nimbus_binary;
use nimbus_services::shared;
use rustix::process::{Resource, getrlimit};
use tokio::{process::Command, time::timeout};
use tokio_util::sync::CancellationToken;

/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const CLIENTS: usize = 16;
const CROWD: usize = 50;
const BACKLOG: u64 = 8;

/// Plays, and returns what stands in the file.
async fn played(scenarios: &[Scenario], on: &[On]) -> anyhow::Result<Scenarios> {
    let out = tempfile::tempdir()?;
    let conditions = Conditions {
        scenarios: scenarios.to_vec(),
        on: on.to_vec(),
        window: Duration::from_secs(2),
        clients: CLIENTS,
        // Tests share the machine; what is proven does not depend on it.
        rate: Some(100.0),
        crowd: CROWD,
        backlog: BACKLOG,
        ..Conditions::new(nimbus_binary()?, out.path())
    };
    let report = play(&conditions, &CancellationToken::new(), |news| {
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
    let read: Scenarios = serde_json::from_slice(&std::fs::read(out.path().join("scenarios.json"))?)?;
    let text = std::fs::read_to_string(out.path().join("scenarios.md"))?;
    assert_eq!(read.schema, SCENARIOS_SCHEMA);
    assert_eq!(read.acts.iter().map(|act| (act.scenario, act.on)).collect::<Vec<_>>(), conditions.acts());
    for act in &read.acts {
        let Books { sent, answered, .. } = act.books;
        assert!(sent == answered && sent > 0 && act.books.violations() == 0, "{:?}", act.books);
        assert!(act.steady.is_some() && !act.timeline.is_empty() && !act.findings.is_empty());
        for finding in &act.findings {
            assert!(finding.measured.is_some() && finding.met.is_some() == finding.bound.is_some(), "{finding:?}");
            assert!(text.contains(&finding.what), "the table leaves out {finding:?}");
        }
    }
    Ok(read)
}

/// One figure of an act.
fn figure(report: &Scenarios, act: usize, what: &str) -> f64 {
    let findings = &report.acts[act].findings;
    let found = findings.iter().find(|finding| finding.what == what);
    found.unwrap_or_else(|| panic!("nothing is said of {what}: {findings:?}")).measured.unwrap()
}

fn everybody_came_back(report: &Scenarios) {
    for act in 0..report.acts.len() {
        assert_eq!(figure(report, act, "clients cut at once"), CROWD as f64);
        assert_eq!(figure(report, act, "of these never resumed"), 0.0);
        assert_eq!(figure(report, act, "of these resumed with a gap, or as if they were new"), 0.0);
        assert!(report.acts[act].books.sent > CROWD as u64 * BACKLOG);
    }
}

fn each_misfit_was_seen(report: &Scenarios) {
    for act in &report.acts {
        assert_eq!(act.clients, CLIENTS - Misfit::ALL.len());
        for misfit in Misfit::ALL {
            let shown = |counted: &&nimbus_chaos::Counted| counted.misfit == misfit && counted.with > counted.without;
            let counted = act.counted.iter().find(shown).unwrap_or_else(|| panic!("{misfit:?}: {:?}", act.counted));
            assert!(counted.did > 0, "{counted:?}");
        }
        assert!(!act.memory.is_empty() && act.memory.iter().all(|memory| memory.max_mib > 0.0), "{:?}", act.memory);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_one_server_everybody_comes_back_from_a_storm_and_misfits_are_seen() -> anyhow::Result<()> {
    let report = played(&[Scenario::Storm], &[On::Embedded]).await?;
    everybody_came_back(&report);
    let report = played(&[Scenario::Isolation], &[On::Embedded]).await?;
    each_misfit_was_seen(&report);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_whole_installation_a_roll_breaks_no_stream_a_storm_loses_nobody_and_misfits_are_seen()
-> anyhow::Result<()> {
    if shared::kafka().is_none() || shared::redis().is_none() {
        return Ok(());
    }
    let report = played(&[Scenario::Roll], &[On::Embedded, On::Distributed]).await?;
    assert_eq!(report.acts[0].turns.len(), 6, "two of each role");
    assert!(
        figure(&report, 0, "streams that a client left because the server had asked it to") >= CLIENTS as f64 / 2.0
    );
    assert_eq!(figure(&report, 0, "streams that broke under a client"), 0.0);
    everybody_came_back(&played(&[Scenario::Storm], &[On::Distributed]).await?);
    each_misfit_was_seen(&played(&[Scenario::Isolation], &[On::Distributed]).await?);
    Ok(())
}

async fn output(args: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nimbus-chaos"));
    command.arg("scenarios").args(args).stdin(Stdio::null()).kill_on_drop(true);
    Ok(timeout(PATIENCE, command.output()).await??)
}

#[tokio::test]
async fn the_help_teaches_every_scenario_and_what_is_wrong_is_said_with_64() -> anyhow::Result<()> {
    let help = output(&["--help"]).await?;
    let text = String::from_utf8(help.stdout)?;
    assert!(help.status.success() && Scenario::ALL.iter().all(|one| text.contains(one.what())), "{text}");
    let nimbus = nimbus_binary()?.to_str().unwrap();
    for wrong in
        [&["flood"][..], &["--clients", "4"], &["--on", "mars"], &["roll", "--on", "embedded", "--nimbus", nimbus]]
    {
        assert_eq!(output(wrong).await?.status.code(), Some(64), "{wrong:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_crowd_that_needs_more_open_files_than_allowed_is_refused_with_69_and_the_remedy() -> anyhow::Result<()> {
    if getrlimit(Resource::Nofile).maximum.is_none() {
        // Nothing is too much here.
        return Ok(());
    }
    let (out, nimbus) = (tempfile::tempdir()?, nimbus_binary()?);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (out, nimbus) = (path(out.path()), path(nimbus));
    let refused = output(&["storm", "--crowd", "1000000000", "--out", &out, "--nimbus", &nimbus]).await?;
    let text = String::from_utf8(refused.stderr)?;
    assert!(refused.status.code() == Some(69) && text.contains("ulimit -Hn"), "{text}");
    Ok(())
}
