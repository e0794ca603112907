//! What a server writes at its default level: what a person reads who starts it, and no more.

use nimbus_harness::{PATIENCE, RawSession, TestNimbus, hello};

use crate::cli::{nimbus, stdout};

#[tokio::test]
async fn a_start_says_once_for_each_group_how_many_partitions_it_has() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_PARTITIONS", 5).start().await?;
    let output = nimbus.wait_for_output(|output| output.matches("partitions assigned").count() >= 3).await?;
    let told: Vec<_> = output.lines().filter(|line| line.contains("assigned")).collect();
    assert!(told.len() == 3 && told.iter().all(|line| line.contains("partitions=5")), "{told:#?}");
    Ok(())
}

/// One client can send thousands of such events a second, and each word on standard error holds up a thread that runs others' events.
#[tokio::test]
async fn an_executor_that_panics_is_told_of_in_the_dead_letter_and_not_on_standard_error() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let mut server = TestNimbus::builder().data_dir(&data).env("RUST_BACKTRACE", 1).start().await?;
    let (mut session, _) = RawSession::welcome(server.connect().await?, hello("phone")).await?;
    for seq in 1..=3 {
        session.event(seq, "fail", r#"{"kind":"panic"}"#).await?;
        assert_eq!(session.delivery().await?.error.unwrap().reason, "EXECUTOR_PANICKED");
    }
    server.terminate()?;
    assert!(server.wait(PATIENCE).await?.success());
    let output = server.output();
    assert!(!output.contains("panicked at") && !output.contains("stack backtrace"), "{output}");

    let listed = stdout(&nimbus(&["dlq", "--data-dir", data.to_str().unwrap(), "list"], &[]).await?);
    let letter = listed.split('\t').next().unwrap();
    let shown = stdout(&nimbus(&["dlq", "--data-dir", data.to_str().unwrap(), "show", letter], &[]).await?);
    assert!(shown.contains("asked to fail, attempt 1 (at ") && shown.contains("fail.rs:"), "{shown}");
    Ok(())
}
