//! A consumer should get work when its groups have taken it in: an orchestrator that ends the next process before that would
//! leave partitions to nobody.

use nimbus_harness::TestNimbus;
use rustix::process::{Pid, Signal, kill_process};

use super::cluster;

fn signal(process: &TestNimbus, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(process.pid()?).ok().and_then(Pid::from_raw).expect("a process has an id");
    Ok(kill_process(pid, signal)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_ready_when_its_groups_have_taken_it_in_and_be_it_without_a_partition() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    // One that stands still keeps others waiting for as long as this, and the test is over sooner.
    let cluster = cluster.env("NIMBUS_PARTITIONS", 1).env("NIMBUS_KAFKA_SESSION_TIMEOUT", "2m");
    for (role, waits_for, partitions) in [
        ("executor", "executors' groups", r#"nimbus_executor_partitions{lane="ordered"}"#),
        ("router", "router's group", "nimbus_router_partitions"),
    ] {
        let first = cluster.start(role).await?;
        first.until_ready().await?;
        signal(&first, Signal::STOP)?;
        let second = cluster.start(role).await?;
        // The coordinator waits for the first one to say whether it stays.
        let (status, body) = second.admin_get("/ready").await?;
        assert_eq!((status, body.contains(waits_for)), (503, true), "{body}");
        signal(&first, Signal::CONT)?;
        second.until_ready().await?;
        assert_eq!(first.metrics().await?.get(partitions)?, 1.0, "{}", first.output());
        assert_eq!(second.metrics().await?.get(partitions)?, 0.0, "{}", second.output());
    }
    Ok(())
}
