//! What the log holds, and what is said when it does not.

use std::time::Duration;

use anyhow::Context as _;
use nimbus_harness::{PATIENCE, RawSession, TestCluster, TestNimbus, hello};
use nimbus_proto::v1::{self, ResumeOutcome, server_frame::Kind as Down};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::cluster;
use crate::{
    ledger::Load,
    sessions::{resumed, seq_of},
};

fn admin(cluster: &TestCluster) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?)
}

/// A session that has the answers to ten squares: its Welcome, and their positions.
async fn ten_squares(server: &TestNimbus, client: &str) -> anyhow::Result<(v1::Welcome, Vec<u64>)> {
    let (mut session, welcome) = RawSession::welcome(server.connect().await?, hello(client)).await?;
    let mut positions = Vec::new();
    for seq in 1..=10 {
        session.square(seq, 3).await?;
    }
    for seq in 1..=10 {
        let delivery = session.delivery().await.with_context(|| server.output())?;
        assert_eq!(seq_of(&delivery), seq);
        positions.push(delivery.position);
    }
    Ok((welcome, positions))
}

#[tokio::test]
async fn a_client_that_was_away_for_longer_than_the_mailbox_keeps_is_served_from_the_results_topic()
-> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let cluster = cluster.env("NIMBUS_MAILBOX_WINDOW", "1s").env("NIMBUS_MAILBOX_MAX_RECORDS", 16);
    let (server, _consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (welcome, positions) = ten_squares(&server, "traveller").await?;
    // Others are served meanwhile, on this partition as well: what the traveller had waits no longer.
    let others = Load::start(&server.url(), 16);
    let mut session_no = 2;
    let welcome = loop {
        let again = resumed("traveller", session_no, &welcome, positions[1], 2);
        let (mut session, again) = RawSession::welcome(server.connect().await?, again).await?;
        if again.resume_outcome() == ResumeOutcome::FromLog {
            for (n, position) in positions.iter().enumerate().skip(2) {
                let delivery = session.delivery().await.with_context(|| server.output())?;
                assert_eq!((seq_of(&delivery), delivery.position), (n as u64 + 1, *position));
            }
            break again;
        }
        assert_eq!(again.resume_outcome(), ResumeOutcome::Resumed, "nothing is missing in between");
        session_no += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(session_no < 200, "the window never passed");
    };
    assert!(welcome.gap.is_none());
    others.finish().await?.balance()
}

#[tokio::test]
async fn what_the_topic_has_lost_to_its_retention_is_a_gap_with_its_positions() -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (welcome, positions) = ten_squares(&server, "late").await?;
    // What retention does in the end, done now.
    let results = &cluster.setting("NIMBUS_KAFKA_RESULTS_TOPIC").to_owned();
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?;
    let mut everything = TopicPartitionList::new();
    for partition in 0..4 {
        let (_, end) = consumer.fetch_watermarks(results, partition, PATIENCE)?;
        if end > 0 {
            everything.add_partition_offset(results, partition, Offset::Offset(end))?;
        }
    }
    admin(&cluster)?.delete_records(&everything, &AdminOptions::new()).await?;
    // The mailbox goes as well: the roles begin anew over an index that knows nothing.
    drop((server, consumers));
    let cluster = cluster.env("NIMBUS_REDIS_KEY_PREFIX", format!("{results}-emptied"));
    let (server, _consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let again = resumed("late", 2, &welcome, positions[1], 2);
    let (mut session, welcome) = RawSession::welcome(server.connect().await?, again).await?;
    assert_eq!(welcome.resume_outcome(), ResumeOutcome::Gap, "{welcome:?}");
    let gap = welcome.gap.context("a gap says from where to where")?;
    assert_eq!(gap.from, positions[1]);
    assert!(gap.to >= positions[9], "{gap:?}");
    // It goes on behind the gap.
    session.square(3, 5).await?;
    assert_eq!(session.delivery().await?.payload, "25");
    Ok(())
}

/// The epoch: small offsets of a new topic must not pass for old ones.
#[tokio::test]
async fn topics_that_were_made_anew_are_noticed_and_clients_are_told_of_a_gap() -> anyhow::Result<()> {
    made_anew(&["NIMBUS_KAFKA_EVENTS_TOPIC", "NIMBUS_KAFKA_RESULTS_TOPIC", "NIMBUS_KAFKA_DLQ_TOPIC"]).await
}

/// What was accepted and not executed went with it.
#[tokio::test]
async fn an_events_topic_that_was_made_anew_alone_is_noticed_as_well() -> anyhow::Result<()> {
    made_anew(&["NIMBUS_KAFKA_EVENTS_TOPIC"]).await
}

/// One command to Redis, as one would type it, and the first line of its answer.
async fn redis(cluster: &TestCluster, command: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(cluster.setting("NIMBUS_REDIS_ADDRESS")).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next_line().await?.context("no answer")?;
    anyhow::ensure!(!first.starts_with('-'), "{command}: {first}");
    match first.starts_with('$') {
        true => lines.next_line().await?.context("no answer"),
        false => Ok(first),
    }
}

/// Rule 16: a partition that an election cut, and that grew again past where it was, is another log than the one that was
/// folded in. No broker does that on demand; what Redis remembers of the last record is changed instead, which shows the same.
#[tokio::test]
async fn rule_16_whoever_takes_over_a_partition_that_is_not_what_was_folded_in_ends_and_clients_are_told_of_a_gap()
-> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (server, executor, mut first) =
        tokio::try_join!(cluster.start("server"), cluster.start("executor"), cluster.start("router"))?;
    let (welcome, positions) = ten_squares(&server, "cut").await?;
    let mut second = cluster.start("router").await?;
    let epoch = redis(&cluster, &format!("GET {}:epoch", cluster.setting("NIMBUS_REDIS_KEY_PREFIX"))).await?;
    for partition in 0..4 {
        let prefix = cluster.setting("NIMBUS_REDIS_KEY_PREFIX");
        redis(&cluster, &format!("HSET {prefix}:v1:{epoch}:{{{partition}}}:head fp 1:00000000000000ff")).await?;
    }
    first.terminate()?;
    assert!(first.wait(PATIENCE).await?.success(), "{}", first.output());
    // Nothing new comes, so nothing hides it: the one that takes over finds it before it folds anything in.
    let status = second.wait(PATIENCE).await?;
    assert_eq!(status.code(), Some(69), "{}", second.output());
    let said = second.wait_for_output(|output| output.contains("is not the one that it was")).await?;
    assert!(said.contains("start again"), "{said}");
    drop((server, executor));
    let refusal = cluster.start("router").await.err().context("it started over another log")?;
    assert!(format!("{refusal:#}").contains("made anew, or cut"), "{refusal:#}");
    let (server, _consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let again = resumed("cut", 2, &welcome, positions[9], 10);
    let (_session, welcome) = RawSession::welcome(server.connect().await?, again).await?;
    assert_eq!(welcome.resume_outcome(), ResumeOutcome::Gap, "{welcome:?}");
    Ok(())
}

async fn made_anew(topics: &[&str]) -> anyhow::Result<()> {
    let Some(cluster) = cluster() else { return Ok(()) };
    let (mut server, mut consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let (welcome, positions) = ten_squares(&server, "phoenix").await?;
    let topics: Vec<_> = topics.iter().map(|topic| cluster.setting(topic)).collect();
    let admin = admin(&cluster)?;
    for outcome in admin.delete_topics(&topics, &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    // Whoever runs notices, and ends rather than go on with another log.
    for role in [&mut server, &mut consumers] {
        let status = role.wait(PATIENCE).await?;
        assert!(!status.success(), "{status}: {}", role.output());
    }
    let new: Vec<_> = topics.iter().map(|topic| NewTopic::new(topic, 4, TopicReplication::Fixed(1))).collect();
    for outcome in admin.create_topics(&new, &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    // The first start sees that this is another log, says so, and names a new epoch.
    let refusal = cluster.start("server").await.err().context("it started over another log")?;
    assert!(format!("{refusal:#}").contains("made anew"), "{refusal:#}");
    let (server, _consumers) = tokio::try_join!(cluster.start("server"), cluster.start("consumers"))?;
    let again = resumed("phoenix", 2, &welcome, positions[9], 10);
    let (mut session, welcome) = RawSession::welcome(server.connect().await?, again).await?;
    assert_eq!(welcome.resume_outcome(), ResumeOutcome::Gap, "{welcome:?}");
    session.square(11, 6).await?;
    loop {
        match session.next().await? {
            Down::Delivery(delivery) if seq_of(&delivery) == 11 => {
                assert_eq!(&delivery.payload[..], b"36");
                return Ok(());
            }
            _ => continue,
        }
    }
}
