//! The jobs lane over a real broker. No executor that comes with Nimbus works in it (it would have every event read twice), so
//! the runtime runs in this process, with one that does, on the adapter of Kafka.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use nimbus_consumers::{
    Catalogue, ConsumersError, ExecutorConfig, ExecutorMetrics, ExecutorPorts, JOBS_GROUP, ORDERED_GROUP, run_executors,
};
use nimbus_core::{
    Attributes, ClientId, ContentType, Event, EventName, GroupId, Lane, LogEpoch, OutboxId, PartKind, Partition,
    PartitionCount, Position, PrincipalId,
    clock::{SystemClock, UnixMillis},
    event::Origin,
    ports::executor::{Executor, Job, Output, Run},
};
use nimbus_harness::PATIENCE;
use nimbus_kafka::{Kafka, KafkaConfig, TopicNames};
use nimbus_services::shared;
use prometheus_client::registry::Registry;
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

const P: Partition = Partition(0);

/// What a member may be silent for, as these logs are set up: the broker throws out who is busy for longer.
const BUSY_LIMIT: Duration = Duration::from_secs(2);

/// Answers `quick` at once and anything else never, and counts how often it was asked.
#[derive(Debug, Clone, Default)]
struct Worker {
    runs: Arc<Mutex<HashMap<u64, u32>>>,
}

impl Worker {
    fn runs(&self, seq: u64) -> u32 {
        self.runs.lock().expect("nobody panics over it").get(&seq).copied().unwrap_or(0)
    }
}

impl Executor for Worker {
    fn name(&self) -> &str {
        "work"
    }

    fn lane(&self) -> Lane {
        Lane::Jobs
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        *self.runs.lock().expect("nobody panics over it").entry(job.event.seq).or_default() += 1;
        match &*job.event.payload {
            b"quick" => Run::Now(Ok(Output::new("done", ContentType::default()))),
            _ => Run::later(std::future::pending()),
        }
    }
}

/// Logs of their own, and one client that fills them.
struct Bench {
    config: KafkaConfig,
    kafka: Kafka,
    origin: Arc<Origin>,
    sent: u64,
}

impl Bench {
    async fn open(brokers: &str) -> anyhow::Result<Self> {
        let name = format!("jobs-{}", Ulid::generate());
        let config = KafkaConfig {
            topics: TopicNames::with_prefix(&name),
            group_prefix: name,
            partitions: PartitionCount(NonZeroU32::MIN),
            session_timeout: Duration::from_secs(1),
            release_limit: BUSY_LIMIT / 2,
            ..KafkaConfig::new(brokers)
        };
        let kafka = Kafka::open(config.clone(), LogEpoch(Ulid::generate()), &mut Registry::default()).await?;
        let origin = Arc::new(Origin {
            client: ClientId::try_new("worker")?,
            principal: PrincipalId::try_new("anyone")?,
            outbox: OutboxId::try_new(&[7; 16])?,
        });
        Ok(Self { config, kafka, origin, sent: 0 })
    }

    /// Starts the runtime, with an executor that counts anew.
    fn start(&self, config: ExecutorConfig) -> anyhow::Result<Runtime> {
        let worker = Worker::default();
        let mut executors = nimbus_executors::builtin();
        executors.push(Arc::new(worker.clone()));
        let ports = ExecutorPorts {
            events: self.kafka.events(),
            results: self.kafka.results(),
            dead_letters: self.kafka.dead_letters(),
            clock: Arc::new(SystemClock),
        };
        let metrics = ExecutorMetrics::register(&mut Registry::default());
        let stop = CancellationToken::new();
        let run = run_executors(ports, Arc::new(Catalogue::try_new(executors)?), config, metrics, (), stop);
        Ok(Runtime { worker, task: tokio::spawn(run) })
    }

    async fn send(&mut self, name: &str, payload: &'static str) -> anyhow::Result<u64> {
        self.sent += 1;
        let event = Event {
            origin: Arc::clone(&self.origin),
            seq: self.sent,
            name: EventName::try_new(name)?,
            payload: Bytes::from_static(payload.as_bytes()),
            content_type: ContentType::default(),
            attributes: Attributes::new(),
            deadline: None,
            traceparent: String::new(),
            received: UnixMillis(0),
            replay_no: 0,
            refused: None,
            edge_context: Bytes::new(),
        };
        self.kafka.events().append(P, vec![event]).await?;
        Ok(self.sent)
    }

    /// Waits for the answer to an event.
    async fn answered(&self, seq: u64) -> anyhow::Result<()> {
        let results = self.kafka.results();
        let mut from = Position::START;
        until(&format!("an answer to {seq}"), async || {
            let batch = results.read(P, from, 1 << 20).await?;
            from = batch.next;
            Ok(batch.records.iter().any(|it| it.record.seq == seq && it.record.kind == PartKind::Final).then_some(()))
        })
        .await
    }

    /// What the jobs group last committed with its place, as the broker keeps it.
    async fn notes(&self) -> anyhow::Result<String> {
        let (topic, group) = (&self.config.topics.events, format!("{}-events-{JOBS_GROUP}", self.config.group_prefix));
        let asking: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.config.brokers).set("group.id", group).create()?;
        let mut place = TopicPartitionList::new();
        place.add_partition(topic, 0);
        let committed = tokio::task::spawn_blocking(move || asking.committed_offsets(place, PATIENCE)).await??;
        let element = committed.find_partition(topic, 0).context("the broker does not know the partition")?;
        Ok(element.metadata().to_owned())
    }

    /// One quick job, from its append until a commit notes it.
    async fn quick_job(&mut self) -> anyhow::Result<u64> {
        let before = self.notes().await?;
        let seq = self.send("work", "quick").await?;
        self.answered(seq).await?;
        until("a commit", async || Ok((self.notes().await? != before).then_some(()))).await?;
        Ok(seq)
    }

    /// How far a group is.
    async fn committed(&self, group: &str) -> anyhow::Result<Position> {
        let group = GroupId::try_new(group)?;
        let all = self.kafka.events().committed(P).await?;
        Ok(all.into_iter().find(|(found, _)| *found == group).map_or(Position::START, |(_, position)| position))
    }
}

struct Runtime {
    worker: Worker,
    task: JoinHandle<Result<(), ConsumersError>>,
}

impl Runtime {
    /// Ends it as a crash would: nothing that is open is finished, nothing more is committed.
    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it had ended before");
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} did not come in {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Rule 6: an hour-long job blocks neither the commits of the ordered lane nor the jobs behind it, and whoever takes over
/// after a crash repeats that one job, not everybody's hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_6_a_long_job_holds_up_nobody_and_only_it_is_executed_again_after_a_crash() -> anyhow::Result<()> {
    let Some(brokers) = shared::kafka() else { return Ok(()) };
    let mut bench = Bench::open(&brokers).await?;
    let first = bench.start(ExecutorConfig::default())?;
    // Its commit also says which names are jobs; from now on only what is answered changes the notes.
    let opening = bench.quick_job().await?;
    let long = bench.send("work", "long").await?;
    let mut quick = Vec::new();
    for _ in 0..5 {
        quick.push(bench.quick_job().await?);
    }
    for _ in 0..50 {
        bench.send("sq", "12").await?;
    }
    bench.answered(bench.sent).await?;
    let end = bench.kafka.events().range(P).await?.end;
    until("the ordered lane's commit", async || Ok((bench.committed(ORDERED_GROUP).await? == end).then_some(())))
        .await?;
    assert_eq!(bench.committed(JOBS_GROUP).await?, Position(1), "the long job is the oldest that is open");

    // sleep: the broker's own clock has to run past what it allows a busy member
    tokio::time::sleep(BUSY_LIMIT + Duration::from_millis(500)).await;
    quick.push(bench.quick_job().await?);
    assert_eq!(first.worker.runs(long), 1, "its member still is in the group");
    first.crash().await;

    let second = bench.start(ExecutorConfig::default())?;
    quick.push(bench.quick_job().await?);
    let last = quick.pop().context("a job of the second life")?;
    assert_eq!((second.worker.runs(long), second.worker.runs(last)), (1, 1));
    assert_eq!(quick.iter().chain([&opening]).map(|seq| second.worker.runs(*seq)).sum::<u32>(), 0);
    second.crash().await;
    Ok(bench.kafka.close().await?)
}
