//! `nimbus demo distributed`, which `make run-distributed` runs: it kills, restarts and counts by itself.

use anyhow::Context as _;
use nimbus_services::shared;

use crate::cli::{nimbus, stderr, stdout};

/// Long enough for the two kills in its middle to strike under load, and for both processes to come back.
const SECONDS: &str = "6";

#[tokio::test]
async fn the_demonstration_kills_one_of_each_and_its_books_balance() -> anyhow::Result<()> {
    let (Some(kafka), Some(redis)) = (shared::kafka(), shared::redis()) else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("demo.json");
    let state = state.to_str().context("a path of text")?;
    let args = ["demo", "distributed", "--kafka", &kafka, "--redis", &redis, "--seconds", SECONDS, "--state", state];
    let output = nimbus(args, &[]).await?;
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", stderr(&output));
    for role in ["server", "consumers"] {
        for what in ["is killed with SIGKILL", "is gone: signal: 9", "was started again"] {
            let told = |line: &str| line.trim_start().starts_with(role) && line.contains(what);
            assert!(shown.lines().any(told), "{role} {what}: {shown}");
        }
    }
    let count = |what: &str| -> anyhow::Result<u64> {
        let line = shown.lines().filter_map(|line| line.trim_start().strip_prefix(what)).next_back();
        Ok(line.with_context(|| format!("no {what}: {shown}"))?.trim().parse()?)
    };
    assert!(count("sent ")? > 100, "{shown}");
    assert_eq!(count("answered ")?, count("sent ")?);
    for nothing in ["lost", "repeated", "out of order", "wrong"] {
        assert_eq!(count(nothing)?, 0, "{nothing}: {shown}");
    }
    // Nobody is left to be killed.
    let nobody = nimbus(["demo", "kill-one", "--state", state], &[]).await?;
    assert_eq!(nobody.status.code(), Some(69), "{}", stderr(&nobody));
    Ok(())
}
