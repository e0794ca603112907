//! Dead letters through the real binary: what fails is listed, shown, replayed and purged, and its client gets an extra.

use std::{path::Path, process::Output};

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, RawSession, TestNimbus, hello};
use nimbus_proto::v1::{self, delivery::Source};

use crate::cli::{nimbus, stderr, stdout};

async fn dlq(data: &Path, args: &[&str]) -> anyhow::Result<Output> {
    let dir = data.to_string_lossy();
    nimbus(["dlq", "--data-dir", &*dir].iter().chain(args), &[]).await
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn replay_no(delivery: &v1::Delivery) -> anyhow::Result<u32> {
    match delivery.source.as_ref().context("no source")? {
        Source::Result(result) => Ok(result.replay_no),
        other => anyhow::bail!("not a result: {other:?}"),
    }
}

/// A server of which each event has so many attempts.
async fn server(data: &Path, attempts: u32) -> anyhow::Result<TestNimbus> {
    TestNimbus::builder().data_dir(data).env("NIMBUS_EXECUTOR_MAX_ATTEMPTS", attempts).start().await
}

async fn stop(mut server: TestNimbus) -> anyhow::Result<()> {
    server.terminate()?;
    anyhow::ensure!(server.wait(PATIENCE).await?.success(), "{}", server.output());
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_is_replayed_once_its_executor_is_repaired_and_the_client_gets_an_extra() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let running = server(&data, 1).await?;
    let (mut session, welcome) = RawSession::welcome(running.connect().await?, hello("phone")).await?;
    session.event(1, "fail", r#"{"kind":"transient","times":1}"#).await?;
    session.event(2, "fail", r#"{"kind":"poison"}"#).await?;
    for _ in 1..=2 {
        let delivery = session.delivery().await?;
        assert!(delivery.error.is_some() && replay_no(&delivery)? == 0, "{delivery:?}");
    }
    session.square(3, 5).await?;
    let last = session.delivery().await?;
    assert_eq!(code(&dlq(&data, &["list"]).await?), Some(69), "a server uses the directory");
    stop(running).await?;

    let output = dlq(&data, &["list"]).await?;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let listed = stdout(&output);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert_eq!(rows[0][2..], ["phone", "fail", "1", "0", "ATTEMPTS_EXHAUSTED", "1", "30", "open"]);
    let (exhausted, poison) = (rows[0][0], rows[1][0]);
    let output = dlq(&data, &["show", exhausted]).await?;
    assert!(stdout(&output).contains("asked to fail, attempt 1"), "the executor's own words: {}", stdout(&output));
    let output = dlq(&data, &["show", poison, "--json"]).await?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&shown["payload"], &shown["seq"]), (&r#"{"kind":"poison"}"#.into(), &2.into()));

    // Nothing happens by mistake.
    for refused in [&["replay"][..], &["replay", exhausted, poison], &["purge", poison]] {
        let output = dlq(&data, refused).await?;
        assert_eq!(code(&output), Some(64));
        assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
    }
    for unknown in ["0:99999", "9999:0"] {
        assert_eq!(code(&dlq(&data, &["replay", exhausted, unknown, "--yes"]).await?), Some(1));
        assert_eq!(code(&dlq(&data, &["show", unknown]).await?), Some(1));
    }
    let output = dlq(&data, &["purge", "--client", "nobody", "--yes"]).await?;
    assert_eq!((code(&output), stdout(&output)), (Some(0), String::new()));
    let output = dlq(&data, &["replay", "--dry-run"]).await?;
    assert_eq!((code(&output), stdout(&output)), (Some(0), listed.clone()));

    let output = dlq(&data, &["replay", exhausted]).await?;
    assert_eq!((code(&output), stdout(&output)), (Some(0), format!("{exhausted} replayed as 1\n")));
    let output = dlq(&data, &["purge", poison, "--yes"]).await?;
    assert_eq!((code(&output), stdout(&output)), (Some(0), format!("{poison} purged\n")));
    assert_eq!(code(&dlq(&data, &["replay", poison]).await?), Some(1), "purged is not wanted");
    let output = dlq(&data, &["list"]).await?;
    assert!(output.status.success() && stdout(&output).is_empty() && stderr(&output).contains("list --all"));
    let all = stdout(&dlq(&data, &["list", "--all", "--json"]).await?);
    let states: Vec<serde_json::Value> = all.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!((&states[0]["state"], &states[0]["replayed_as"]), (&"replayed".into(), &1.into()));
    assert_eq!(states[1]["state"], "purged");

    let running = server(&data, 3).await?;
    let resume = v1::Resume { token: welcome.resume_token, position: last.position, answered: 3, ..Default::default() };
    let again = v1::Hello { session_no: 2, first_unaccepted: 4, resume: Some(resume), ..hello("phone") };
    let (mut session, _) = RawSession::welcome(running.connect().await?, again).await?;
    let extra = session.delivery().await?;
    assert_eq!((replay_no(&extra)?, &extra.payload[..]), (1, br#"{"attempt":2}"#.as_slice()));
    session.square(4, 6).await?;
    let next = session.delivery().await?;
    assert_eq!((replay_no(&next)?, &next.payload[..]), (0, b"36".as_slice()), "nothing was repeated");
    stop(running).await?;
    assert!(stdout(&dlq(&data, &["list"]).await?).is_empty(), "it did not fail again");
    Ok(())
}

/// A look at a directory must not make one, nor need its settings.
#[tokio::test]
async fn a_directory_without_a_log_is_64_and_one_with_another_number_of_partitions_is_fine() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let output = dlq(&data, &["list"]).await?;
    assert_eq!(code(&output), Some(64));
    assert!(stderr(&output).contains("holds no nimbus log") && !data.exists(), "{}", stderr(&output));
    stop(TestNimbus::builder().data_dir(&data).env("NIMBUS_PARTITIONS", 3).start().await?).await?;
    assert_eq!(code(&dlq(&data, &["list"]).await?), Some(0));
    Ok(())
}
