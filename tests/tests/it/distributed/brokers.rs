//! Rule 4 where it matters: a cluster of brokers that loses one of them, and two.
//!
//! Topics have three replicas, two of which confirm: what was accepted survives the loss of any one machine, and what cannot
//! be on two of them is not accepted.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, bail, ensure};
use nimbus_core::{ClientId, PartitionCount};
use nimbus_harness::{PATIENCE, RawSession, TestCluster, hello};
use nimbus_proto::v1::{self, client_frame::Kind as Up, server_frame::Kind as Down};
use nimbus_services::{Kafka, KafkaCluster, shared};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    metadata::Metadata,
};
use tokio::{
    sync::{Mutex, MutexGuard, mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::Instant,
};
use tonic::transport::Channel;

use super::Site;

const NODES: usize = 3;
const CLIENTS: usize = 32;

/// Three brokers share the machine of one, and write everything twice: at some hundred events a second they would take all of
/// it, and one that comes back needs a minute to start.
const PACE: Duration = Duration::from_millis(250);

/// As many of a server's signs of life as it takes to know that nothing else comes.
const PINGS: u32 = 3;

/// Six brokers at once are more than a small machine starts in time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Brokers that this test may harm, while no other test has any.
async fn own_cluster() -> anyhow::Result<Option<(MutexGuard<'static, ()>, KafkaCluster)>> {
    if shared::kafka().is_none() {
        return Ok(None);
    }
    let turn = ONE_AT_A_TIME.lock().await;
    Ok(Some((turn, spawn_blocking(|| Kafka::cluster(NODES)).await??)))
}

/// What the brokers say about the topics of an installation.
struct Looking {
    client: BaseConsumer,
    topics: Vec<String>,
}

impl Looking {
    fn new(cluster: &TestCluster) -> anyhow::Result<Self> {
        let client = ClientConfig::new().set("bootstrap.servers", cluster.setting("NIMBUS_KAFKA_BROKERS")).create()?;
        let names = ["NIMBUS_KAFKA_EVENTS_TOPIC", "NIMBUS_KAFKA_RESULTS_TOPIC", "NIMBUS_KAFKA_DLQ_TOPIC"];
        let topics = names.map(|name| cluster.setting(name).to_owned());
        // Groups and the epoch are kept in a topic as well.
        Ok(Self { client, topics: topics.into_iter().chain(["__consumer_offsets".to_owned()]).collect() })
    }

    fn ask(&self) -> anyhow::Result<Metadata> {
        Ok(self.client.fetch_metadata(None, PATIENCE)?)
    }

    /// The index of the node that leads most partitions of events.
    fn leader(&self) -> anyhow::Result<usize> {
        let metadata = self.ask()?;
        let events = metadata.topics().iter().find(|topic| topic.name() == self.topics[0]).context("no topic")?;
        let mut led = HashMap::<i32, usize>::new();
        for partition in events.partitions() {
            *led.entry(partition.leader()).or_default() += 1;
        }
        let (node, _) = led.into_iter().max_by_key(|(_, partitions)| *partitions).context("no partitions")?;
        Ok(usize::try_from(node)? - 1)
    }

    /// Waits until every partition has all its replicas in sync.
    async fn all_in_sync(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metadata = self.ask()?;
            let behind: Vec<_> = metadata
                .topics()
                .iter()
                .filter(|topic| self.topics.iter().any(|name| name == topic.name()))
                .flat_map(|topic| topic.partitions().iter().map(move |partition| (topic.name(), partition)))
                .filter(|(_, partition)| partition.replicas().len() != NODES || partition.isr().len() != NODES)
                .map(|(topic, partition)| format!("{topic} {}: {:?} in sync", partition.id(), partition.isr()))
                .collect();
            if behind.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{behind:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What is done to nodes, off the threads that keep the clients going.
async fn harm<T: Send + 'static>(
    mut kafka: KafkaCluster,
    work: impl FnOnce(&mut [Kafka]) -> nimbus_services::Result<T> + Send + 'static,
) -> anyhow::Result<KafkaCluster> {
    Ok(spawn_blocking(move || work(kafka.nodes()).map(|_| kafka)).await??)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_a_broker_that_leads_is_killed_and_then_another_and_nothing_is_lost_repeated_or_reordered()
-> anyhow::Result<()> {
    let (Some((_turn, mut kafka)), Some(redis)) = (own_cluster().await?, shared::redis()) else { return Ok(()) };
    let cluster = TestCluster::new(&kafka.addresses(), &redis);
    let site = Site::start(&cluster).await?;
    let looking = Looking::new(&cluster)?;
    let mut load = site.paced_load(CLIENTS, PACE);
    let mut victims = Vec::new();
    for _ in 0..2 {
        load.progress(500).await.with_context(|| site.output())?;
        looking.all_in_sync().await?;
        let victim = looking.leader()?;
        kafka = harm(kafka, move |nodes| nodes[victim].kill()).await?;
        // The two others go on.
        load.progress(500).await.with_context(|| site.output())?;
        kafka = harm(kafka, move |nodes| nodes[victim].restart()).await?;
        victims.push(victim);
    }
    assert_ne!(victims[0], victims[1], "a node that was away leads nothing at first");
    load.progress(500).await.with_context(|| site.output())?;
    let books = load.finish().await;
    drop(kafka);
    site.balanced(books)
}

/// One client id for every partition.
fn one_for_each(partitions: PartitionCount) -> anyhow::Result<Vec<String>> {
    let mut ids = vec![None; partitions.len()];
    for n in 0.. {
        let id = format!("patient-{n}");
        let partition = partitions.partition_of(&ClientId::try_new(&id)?);
        ids[partition.0 as usize].get_or_insert(id);
        if ids.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(ids.into_iter().flatten().collect())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Brokers {
    All,
    One,
    Back,
}

/// Has an event answered, and says so. When there is only one broker, sends another one, and says when nothing but signs of
/// life came for a while. When the brokers are back, waits for its answer.
async fn wait_patiently(
    channel: Channel,
    id: String,
    mut brokers_rx: watch::Receiver<Brokers>,
    seen_tx: mpsc::Sender<()>,
) -> anyhow::Result<v1::Delivery> {
    let (mut session, _) = RawSession::welcome(channel, hello(&id)).await?;
    session.square(1, 2).await?;
    ensure!(session.delivery().await?.payload == "4", "2 times 2 is 4");
    seen_tx.send(()).await?;
    let mut pings = 0;
    loop {
        let frame = tokio::select! {
            changed = brokers_rx.changed() => {
                changed?;
                if *brokers_rx.borrow() == Brokers::One {
                    session.square(2, 3).await?;
                    pings = 0;
                }
                continue;
            }
            frame = session.next() => frame?,
        };
        let brokers = *brokers_rx.borrow();
        match frame {
            Down::Ping(_) => {
                session.send(Up::Pong(v1::Pong {})).await?;
                pings += 1;
                if brokers == Brokers::One && pings == PINGS {
                    seen_tx.send(()).await?;
                }
            }
            Down::Delivery(delivery) if brokers == Brokers::Back => return Ok(delivery),
            Down::Accepted(accepted) if brokers == Brokers::Back || accepted.up_to_seq < 2 => {}
            other => bail!("{brokers:?}: {other:?}"),
        }
    }
}

/// Waits until every one of them has said so.
async fn all(
    seen_rx: &mut mpsc::Receiver<()>,
    waiting: &mut JoinSet<anyhow::Result<v1::Delivery>>,
) -> anyhow::Result<()> {
    for _ in 0..waiting.len() {
        tokio::select! {
            _ = seen_rx.recv() => {}
            Some(ended) = waiting.join_next() => bail!("one ended early: {ended:?}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_4_with_two_of_three_brokers_gone_nothing_is_accepted_and_then_everything_goes_on() -> anyhow::Result<()> {
    let (Some((_turn, mut kafka)), Some(redis)) = (own_cluster().await?, shared::redis()) else { return Ok(()) };
    let cluster = TestCluster::new(&kafka.addresses(), &redis)
        .env("NIMBUS_SESSION_PING_INTERVAL", "2s")
        .env("NIMBUS_SESSION_PONG_TIMEOUT", "2s");
    let site = Site::start(&cluster).await?;
    let looking = Looking::new(&cluster)?;
    let mut load = site.paced_load(CLIENTS, PACE);
    load.progress(500).await.with_context(|| site.output())?;
    looking.all_in_sync().await?;
    let partitions = PartitionCount(cluster.setting("NIMBUS_PARTITIONS").parse()?);
    let (seen_tx, mut seen_rx) = mpsc::channel(partitions.len());
    let brokers_tx = watch::Sender::new(Brokers::All);
    let mut waiting = JoinSet::new();
    for (id, server) in one_for_each(partitions)?.into_iter().zip(site.servers.iter().cycle()) {
        waiting.spawn(wait_patiently(server.connect().await?, id, brokers_tx.subscribe(), seen_tx.clone()));
    }
    all(&mut seen_rx, &mut waiting).await.with_context(|| site.output())?;
    let survivor = looking.leader()?;
    let gone = [1, 2].map(|other| (survivor + other) % NODES);
    kafka = harm(kafka, move |nodes| gone.iter().try_for_each(|node| nodes[*node].kill())).await?;
    brokers_tx.send_replace(Brokers::One);
    all(&mut seen_rx, &mut waiting).await.with_context(|| site.output())?;
    brokers_tx.send_replace(Brokers::Back);
    kafka = harm(kafka, move |nodes| gone.iter().try_for_each(|node| nodes[*node].restart())).await?;
    while let Some(answered) = waiting.join_next().await {
        assert_eq!(answered?.with_context(|| site.output())?.payload, "9");
    }
    load.progress(500).await.with_context(|| site.output())?;
    let books = load.finish().await;
    drop(kafka);
    site.balanced(books)
}
