//! Kill -9 at any instant: every accepted event is answered exactly once, in order.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use nimbus_harness::{TestNimbus, nimbus_binary};
use rand::RngExt as _;
use tokio::process::Command;

use crate::ledger::Load;

/// Rounds of the short form that runs with every test; `make crash-loop` sets more.
const SHORT_ROUNDS: u32 = 5;

fn rounds() -> u32 {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(SHORT_ROUNDS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_server_killed_under_load_loses_repeats_and_reorders_nothing() -> anyhow::Result<()> {
    let mut nimbus = TestNimbus::builder().start().await?;
    let mut load = Load::start(&nimbus.url(), 16);
    let rounds = rounds();
    for round in 1..=rounds {
        // Somewhere in the middle of the work, another place each time.
        load.progress(rand::rng().random_range(1..3_000)).await?;
        nimbus.crash_and_restart().await?;
        println!("round {round} of {rounds}: killed and restarted");
    }
    load.progress(1_000).await?;
    let books = load.finish().await?;
    println!("{rounds} rounds: {books}");
    books.balance()
}

#[tokio::test]
async fn a_client_killed_again_and_again_goes_on_from_its_outbox_file() -> anyhow::Result<()> {
    const TOTAL: u64 = 3_000;
    let nimbus = TestNimbus::builder().start().await?;
    let dir = tempfile::tempdir()?;
    let results = dir.path().join("results");
    let mut kills = 0;
    loop {
        let mut client = Command::new(nimbus_binary()?)
            .args(["client", "--client_id", "phone", "--start", "1", "--end"])
            .arg(TOTAL.to_string())
            .arg("--addr")
            .arg(nimbus.addr().to_string())
            .arg("--outbox")
            .arg(dir.path().join("outbox"))
            .arg("--results")
            .arg(&results)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        // Killed once it has written some more results, as long as enough are left to kill it in the middle.
        let goal = lines(&results) + rand::rng().random_range(1..600);
        let ended = loop {
            tokio::select! {
                status = client.wait() => break Some(status?),
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    if (goal..TOTAL - 100).contains(&lines(&results)) {
                        break None;
                    }
                }
            }
        };
        match ended {
            Some(status) => {
                assert!(status.success(), "{status}");
                break;
            }
            None => {
                client.kill().await?;
                kills += 1;
            }
        }
    }
    println!("killed {kills} times");
    assert!(kills > 0, "the client was never killed");
    let text = std::fs::read_to_string(&results)?;
    let answers: Vec<(u64, u64)> = text
        .lines()
        .map(|line| {
            let answer: serde_json::Value = serde_json::from_str(line)?;
            Ok((answer["seq"].as_u64().context("seq")?, answer["result"].as_u64().context("result")?))
        })
        .collect::<anyhow::Result<_>>()?;
    assert_eq!(answers, (1..=TOTAL).map(|n| (n, n * n)).collect::<Vec<_>>());
    Ok(())
}

/// How many whole lines a file has; none when it is not there yet.
fn lines(path: &Path) -> u64 {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
}
