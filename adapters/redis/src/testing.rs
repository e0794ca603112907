//! Helpers of this crate's tests: a Redis that is there, or one of their own.

use std::{
    num::NonZeroU32,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use nimbus_core::{
    ClientId, ContentType, EventName, Lane, LogEpoch, Offset, Origin, OutboxId, PartKind, Partition, PartitionCount,
    Position, PrincipalId, ResultRecord, ServerId, SessionId,
    clock::{Clock, UnixMillis},
    mailbox::MailboxLimits,
    ports::{
        log::{Batch, LogError, Stored},
        mailbox::{Claim, ClaimKind},
    },
};
use ulid::Ulid;

use crate::{Beginning, Found, PortMetrics, QueueLimits, RedisConfig, RedisMetrics, RedisPorts, RedisStore};

/// Names a Redis that tests may use, `host:port`. Each test has a key prefix of its own.
pub(crate) const VARIABLE: &str = "NIMBUS_TEST_REDIS";

/// Where the Redis for tests is. Without one the test says so and does nothing; in CI that is a failure.
pub(crate) fn shared(test: &str) -> Option<String> {
    let found = std::env::var(VARIABLE).ok();
    if found.is_none() {
        skipped(test, &format!("{VARIABLE} is not set"));
    }
    found
}

fn skipped(test: &str, why: &str) {
    assert!(std::env::var("CI").is_err(), "{test} would be skipped, and this is CI: {why}");
    eprintln!("SKIPPED, NOT PASSED: {test}: {why}");
}

/// A clock that a test moves.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
}

/// Begins where a test says; the log has records unless that is its start.
#[derive(Debug, Default)]
pub(crate) struct BeginAt(pub(crate) AtomicU64);

#[async_trait]
impl Beginning for BeginAt {
    async fn find(&self, _: Partition, _: UnixMillis) -> Result<Found, LogError> {
        let position = Position(self.0.load(Ordering::Relaxed));
        Ok(Found { position, has_records: position > Position::START })
    }
}

pub(crate) const LIMITS: MailboxLimits = MailboxLimits {
    client_records: 32,
    client_bytes: MailboxLimits::CLIENT_BYTES,
    partition_bytes: 2 << 20,
    window: MailboxLimits::WINDOW,
    retention: MailboxLimits::RETENTION,
};

/// A short queue, so that it overflows soon.
pub(crate) const QUEUE: QueueLimits = QueueLimits { notifications: 32, bytes: 1 << 20 };

/// One process' view of a Redis.
pub(crate) struct World {
    pub(crate) config: RedisConfig,
    pub(crate) epoch: LogEpoch,
    pub(crate) partitions: PartitionCount,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) beginning: Arc<BeginAt>,
    pub(crate) store: RedisStore,
    pub(crate) ports: RedisPorts,
    pub(crate) metrics: PortMetrics,
}

pub(crate) fn config(url: &str) -> RedisConfig {
    let prefix = format!("test-{}", Ulid::generate());
    RedisConfig {
        key_prefix: prefix.clone(),
        channel_prefix: prefix,
        limits: LIMITS,
        queue: QUEUE,
        ..RedisConfig::new(url)
    }
}

impl World {
    pub(crate) async fn new(config: RedisConfig, partitions: u32) -> Self {
        let partitions = PartitionCount(NonZeroU32::new(partitions).unwrap());
        Self::open(config, LogEpoch(Ulid::generate()), partitions, Arc::default(), Arc::default()).await
    }

    async fn open(
        config: RedisConfig,
        epoch: LogEpoch,
        partitions: PartitionCount,
        clock: Arc<TestClock>,
        beginning: Arc<BeginAt>,
    ) -> Self {
        let store = RedisStore::connect(config.clone(), RedisMetrics::default()).await.unwrap();
        let metrics = PortMetrics::default();
        let (clock_port, beginning_port) = (Arc::clone(&clock) as _, Arc::clone(&beginning) as _);
        let ports = store.ports(epoch, partitions, clock_port, beginning_port, metrics.clone());
        Self { config, epoch, partitions, clock, beginning, store, ports, metrics }
    }

    /// Another process that uses the same Redis for the same log.
    pub(crate) async fn another(&self) -> Self {
        let (clock, beginning) = (Arc::clone(&self.clock), Arc::clone(&self.beginning));
        Self::open(self.config.clone(), self.epoch, self.partitions, clock, beginning).await
    }

    /// The same process after a restart; with a new log if `epoch` says so.
    pub(crate) async fn restart(&mut self, epoch: LogEpoch) {
        self.store.close().await;
        let (clock, beginning) = (Arc::clone(&self.clock), Arc::clone(&self.beginning));
        *self = Self::open(self.config.clone(), epoch, self.partitions, clock, beginning).await;
    }
}

/// A Redis of a test's own. Ends with it.
#[derive(Debug)]
pub(crate) struct OwnRedis {
    child: Child,
    pub(crate) port: u16,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
}

/// Low enough for a cluster's own port, which is 10,000 further on.
fn free_port() -> u16 {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::iter::repeat_with(free).find(|port| *port < 55_000).unwrap()
}

impl OwnRedis {
    /// `None` where there is no redis-server; then the test is skipped.
    pub(crate) async fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let Ok(child) = launch(port, &arguments, &directory) else {
            skipped(test, "there is no redis-server");
            return None;
        };
        let own = Self { child, port, arguments, directory };
        own.ready().await;
        Some(own)
    }

    pub(crate) fn url(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does, and starts it again with what was saved.
    pub(crate) async fn crash(&mut self) {
        self.kill();
        self.revive().await;
    }

    /// Starts it again after it was killed.
    pub(crate) async fn revive(&mut self) {
        self.child = launch(self.port, &self.arguments, &self.directory).unwrap();
        self.ready().await;
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it without ending it, or lets it go on.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// One command by a connection of its own.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        command(self.port, words).await.unwrap()
    }

    async fn ready(&self) {
        let up = |answer: String| answer.contains("PONG") || answer.contains("NOAUTH");
        until("redis answers", async || command(self.port, &["PING"]).await.is_ok_and(up)).await;
    }
}

fn launch(port: u16, arguments: &[String], directory: &tempfile::TempDir) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--dir", directory.path().to_str().unwrap()])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Speaks to Redis as little as it takes.
async fn command(port: u16, words: &[&str]) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let mut sent = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| sent += &format!("${}\r\n{word}\r\n", word.len()));
    stream.write_all(sent.as_bytes()).await?;
    let mut answer = vec![0; 64 << 10];
    let len = stream.read(&mut answer).await?;
    answer.truncate(len);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Looks again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    nimbus_contracts::within(what, async {
        loop {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(crate) fn server(name: &str) -> ServerId {
    ServerId::try_new(name).unwrap()
}

pub(crate) fn client(name: &str) -> ClientId {
    ClientId::try_new(name).unwrap()
}

pub(crate) fn session(number: u128) -> SessionId {
    SessionId(Ulid(number))
}

pub(crate) fn sdk(of: &ClientId, on: &str, session_no: u64) -> Claim {
    Claim {
        client: of.clone(),
        principal: PrincipalId::try_new("alice").unwrap(),
        server: server(on),
        session: session(session_no.into()),
        kind: ClaimKind::Sdk { outbox: OutboxId::new([1; 16]), session_no, token: None },
        log_end: Position::START,
    }
}

pub(crate) fn original(of: &ClientId, on: &str, number: u64) -> Claim {
    Claim { kind: ClaimKind::Original, ..sdk(of, on, number) }
}

/// A FINAL of the ordered lane.
pub(crate) fn answer(of: &ClientId, principal: &str, seq: u64) -> ResultRecord {
    let origin = Origin {
        client: of.clone(),
        principal: PrincipalId::try_new(principal).unwrap(),
        outbox: OutboxId::new([1; 16]),
    };
    ResultRecord {
        origin: Arc::new(origin),
        seq,
        event_name: EventName::try_new("sq").unwrap(),
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        kind: PartKind::Final,
        lane: Lane::Ordered,
        payload: Bytes::from(vec![7; 64]),
        content_type: ContentType::default(),
        attributes: Vec::new(),
        failure: None,
        event_offset: Offset(seq),
        produced: UnixMillis(1_700_000_000_000),
        edge_context: Bytes::new(),
    }
}

/// A batch from `from` on, without holes.
pub(crate) fn batch(from: u64, records: Vec<ResultRecord>) -> Batch<ResultRecord> {
    let next = Position(from + records.len() as u64);
    let stored = records.into_iter().zip(from..).map(|(record, offset)| Stored { offset: Offset(offset), record });
    Batch { partition: Partition(0), from: Position(from), records: stored.collect(), next, provisional: None }
}

/// One client's answers `seqs`, from offset `from` on.
pub(crate) fn answers(of: &ClientId, from: u64, seqs: impl IntoIterator<Item = u64>) -> Batch<ResultRecord> {
    batch(from, seqs.into_iter().map(|seq| answer(of, "alice", seq)).collect())
}
