//! What a server writes at its default level: what a person reads who starts it, and no more.

use nimbus_harness::TestNimbus;

#[tokio::test]
async fn a_start_says_once_for_each_group_how_many_partitions_it_has() -> anyhow::Result<()> {
    let nimbus = TestNimbus::builder().env("NIMBUS_PARTITIONS", 5).start().await?;
    let output = nimbus.wait_for_output(|output| output.matches("partitions assigned").count() >= 3).await?;
    let told: Vec<_> = output.lines().filter(|line| line.contains("assigned")).collect();
    assert!(told.len() == 3 && told.iter().all(|line| line.contains("partitions=5")), "{told:#?}");
    Ok(())
}
