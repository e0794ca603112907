//! The router on a log in memory, with a mailbox that runs the real rules and can be told to fail.

use std::{collections::HashMap, sync::Mutex};

use async_trait::async_trait;
use nimbus_core::{
    ClientId, Lane, Offset, PartKind, Partition, Position, ServerId, SessionId,
    mailbox::{ApplyOutcome, MailboxLimits, PartitionMailbox},
    ports::{
        log::{Batch, Log as _, LogError, Stored},
        mailbox::{Applied, Claim, ClaimError, Claimed, Head, Landmark, MailboxAck, MailboxError, Page},
    },
};
use proptest::prelude::*;
use tokio::{sync::Notify, task::JoinHandle};

use super::*;
use crate::testing::{Client, MemoryLog, TokioClock, brief, soon};

/// What the test decides about the mailbox.
#[derive(Debug, Default)]
struct Whims {
    /// So many calls fail before anything was done.
    failures: usize,
    /// So many calls fail although they were done.
    late_failures: usize,
    /// This partition does not answer.
    stuck: Option<Partition>,
    /// The largest batch that was given.
    largest: usize,
    /// What it says was folded in last.
    landmark: Option<Landmark>,
}

#[derive(Debug)]
struct TestMailbox {
    partitions: Mutex<HashMap<Partition, PartitionMailbox>>,
    whims: Mutex<Whims>,
    changed: Notify,
}

impl TestMailbox {
    fn new() -> Arc<Self> {
        Arc::new(Self { partitions: Mutex::default(), whims: Mutex::default(), changed: Notify::new() })
    }

    fn whim(&self, change: impl FnOnce(&mut Whims)) {
        change(&mut self.whims.lock().unwrap());
        self.changed.notify_waiters();
    }

    fn with<T>(&self, partition: Partition, act: impl FnOnce(&mut PartitionMailbox) -> T) -> T {
        let mut partitions = self.partitions.lock().unwrap();
        let limits = MailboxLimits { client_records: usize::MAX, ..MailboxLimits::default() };
        let value = act(partitions.entry(partition).or_insert_with(|| PartitionMailbox::new(partition, limits)));
        self.changed.notify_waiters();
        value
    }

    /// Everything is forgotten, as when Redis was emptied.
    fn forget(&self) {
        self.partitions.lock().unwrap().clear();
    }

    async fn until_applied(&self, partition: Partition, position: Position) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.with_quietly(partition) >= position {
                return;
            }
            changed.await;
        }
    }

    fn with_quietly(&self, partition: Partition) -> Position {
        self.partitions.lock().unwrap().get(&partition).map_or(Position::START, PartitionMailbox::applied)
    }

    /// What waits for a client.
    fn waiting(&self, partition: Partition, client: &str) -> Vec<String> {
        let client = ClientId::try_new(client).unwrap();
        self.with(partition, |mailbox| match mailbox.read(&client, Position::START, usize::MAX, usize::MAX) {
            Page::Records { records, .. } => records.iter().map(|stored| brief(&stored.record)).collect(),
            Page::BelowFloor { floor } => vec![format!("floor {floor}")],
        })
    }

    async fn answer(&self, partition: Partition) -> Result<(), MailboxError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut whims = self.whims.lock().unwrap();
                if whims.stuck != Some(partition) {
                    if whims.failures == 0 {
                        return Ok(());
                    }
                    whims.failures -= 1;
                    return Err(MailboxError::Unavailable("test".to_owned()));
                }
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Mailbox for TestMailbox {
    async fn apply(&self, batch: &Batch<ResultRecord>) -> Result<Applied, MailboxError> {
        self.answer(batch.partition).await?;
        let outcome = self.with(batch.partition, |mailbox| mailbox.apply(batch, TokioClock::START));
        let mut whims = self.whims.lock().unwrap();
        whims.largest = whims.largest.max(batch.records.len());
        if whims.late_failures > 0 {
            whims.late_failures -= 1;
            return Err(MailboxError::Unavailable("test".to_owned()));
        }
        Ok(match outcome {
            ApplyOutcome::Folded(folded) => {
                let (fresh, duplicates) = (folded.fresh, folded.duplicates);
                Applied::Through { applied: folded.applied, fresh, duplicates }
            }
            ApplyOutcome::Hole { applied } => Applied::Hole { applied },
        })
    }

    async fn applied(&self, partition: Partition) -> Result<Position, MailboxError> {
        self.answer(partition).await?;
        Ok(self.with_quietly(partition))
    }

    async fn landmark(&self, partition: Partition) -> Result<Option<Landmark>, MailboxError> {
        self.answer(partition).await?;
        Ok(self.whims.lock().unwrap().landmark)
    }

    async fn skip_to(&self, partition: Partition, start: Position) -> Result<(), MailboxError> {
        self.answer(partition).await?;
        self.with(partition, |mailbox| mailbox.skip_to(start));
        Ok(())
    }

    async fn claim(&self, _: Claim) -> Result<Claimed, ClaimError> {
        Err(ClaimError::Unavailable("not in this test".to_owned()))
    }

    async fn release(&self, _: &ClientId, _: SessionId) -> Result<(), MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn read(&self, _: &ClientId, _: Position, _: usize, _: usize) -> Result<Page, MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn ack(&self, _: &[MailboxAck]) -> Result<(), MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }

    async fn heads(&self, _: &ServerId, _: &[Partition]) -> Result<Vec<Head>, MailboxError> {
        Err(MailboxError::Unavailable("not in this test".to_owned()))
    }
}

struct Bench {
    results: MemoryLog<ResultRecord>,
    mailbox: Arc<TestMailbox>,
    metrics: RouterMetrics,
    config: RouterConfig,
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ConsumersError>>,
}

impl Bench {
    fn new(partitions: usize) -> Self {
        Self {
            results: MemoryLog::new(partitions),
            mailbox: TestMailbox::new(),
            metrics: RouterMetrics::register(&mut prometheus_client::registry::Registry::default()),
            config: RouterConfig::default(),
        }
    }

    fn start(&self) -> Running {
        let mailbox = Arc::clone(&self.mailbox) as Arc<dyn Mailbox>;
        let ports = RouterPorts { results: Arc::new(self.results.clone()), mailbox };
        let shutdown = CancellationToken::new();
        let run = run_router(ports, self.config.clone(), self.metrics.clone(), (), shutdown.clone());
        Running { shutdown, task: tokio::spawn(run) }
    }

    fn answer(&self, client: &mut Client) {
        self.results.put(answer(client));
    }

    async fn routed(&self) {
        for partition in self.results.partitions().all() {
            soon(self.mailbox.until_applied(partition, self.results.end(partition))).await;
        }
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap().unwrap();
    }

    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn answer(client: &mut Client) -> ResultRecord {
    let event = client.event("sq", "");
    ResultRecord::answering(&event, Offset(event.seq), Lane::Ordered, PartKind::Final, TokioClock::START)
}

fn expected(client: &str, count: u64) -> Vec<String> {
    (1..=count).map(|seq| format!("{client}/{seq} Final ")).collect()
}

#[tokio::test(start_paused = true)]
async fn results_reach_the_mailbox_and_the_place_is_committed() {
    let bench = Bench::new(2);
    let mut client = Client::new("c");
    let partition = bench.results.partition_of("c");
    let running = bench.start();
    for _ in 0..250 {
        bench.results.put(answer(&mut client));
    }
    bench.routed().await;
    assert_eq!(bench.mailbox.waiting(partition, "c"), expected("c", 250));
    assert_eq!(bench.metrics.records.get(), 250);
    soon(bench.results.until_committed(ROUTER_GROUP, partition, bench.results.end(partition))).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_begins_where_the_mailbox_is_whatever_was_committed() {
    let bench = Bench::new(1);
    let mut client = Client::new("c");
    let running = bench.start();
    (0..10).for_each(|_| bench.answer(&mut client));
    bench.routed().await;
    running.stop().await;
    assert_eq!(bench.results.committed_by(ROUTER_GROUP, Partition(0)).position, bench.results.end(Partition(0)));
    bench.mailbox.forget();
    let running = bench.start();
    bench.routed().await;
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), expected("c", 10));
    running.stop().await;
}

/// Ten results are routed, then the router ends, one more result comes, and the mailbox says what it folded in last.
async fn take_over(landmark: impl Fn(Landmark) -> Landmark) -> (Bench, Running, Position) {
    let bench = Bench::new(1);
    let mut client = Client::new("c");
    let running = bench.start();
    (0..10).for_each(|_| bench.answer(&mut client));
    bench.routed().await;
    running.stop().await;
    let position = bench.results.end(Partition(0));
    let fingerprint = bench.results.all()[9].fingerprint();
    bench.mailbox.whim(|whims| whims.landmark = Some(landmark(Landmark { position, fingerprint })));
    bench.answer(&mut client);
    let running = bench.start();
    (bench, running, position)
}

/// Rule 16: before the first batch of whoever takes over. One batch later the evidence would be gone, and what the log lost
/// before `applied` and wrote anew would have been skipped in silence.
#[tokio::test(start_paused = true)]
async fn rule_16_a_log_that_was_cut_and_grew_again_is_refused_at_the_takeover() {
    let another_record = |own: Landmark| Landmark { fingerprint: own.fingerprint ^ 1, ..own };
    let behind_the_end = |own: Landmark| Landmark { position: Position(own.position.0 + 5), ..own };
    for landmark in [another_record, behind_the_end] {
        let (bench, running, applied) = take_over(landmark).await;
        let error = soon(running.task).await.unwrap().unwrap_err();
        let ConsumersError::Log { source: LogError::Replaced(what), .. } = &error else { panic!("{error:?}") };
        assert!(what.contains("partition 0"), "{what}");
        assert_eq!(bench.mailbox.with_quietly(Partition(0)), applied, "nothing was folded in on top of it");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_16_a_log_that_is_the_same_is_taken_over() {
    let (bench, running, _) = take_over(|own| own).await;
    bench.routed().await;
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), expected("c", 11));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_lost_its_memory_is_filled_again_from_where_it_says() {
    let bench = Bench::new(1);
    bench.results.set_batch(3);
    let mut client = Client::new("c");
    let running = bench.start();
    (0..10).for_each(|_| bench.answer(&mut client));
    bench.routed().await;
    bench.mailbox.forget();
    (0..10).for_each(|_| bench.answer(&mut client));
    bench.routed().await;
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), expected("c", 20));
    assert_eq!(bench.metrics.holes.get(), 1, "read ahead from before the hole is dropped, not refused again");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_lost_its_memory_is_filled_again_although_nothing_new_comes() {
    let bench = Bench::new(1);
    let mut client = Client::new("c");
    let running = bench.start();
    (0..10).for_each(|_| bench.answer(&mut client));
    bench.routed().await;
    bench.mailbox.forget();
    let began = tokio::time::Instant::now();
    bench.routed().await;
    assert!(began.elapsed() <= RouterConfig::CHECK_INTERVAL);
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), expected("c", 10));
    assert_eq!(bench.metrics.regressions.get(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_does_not_answer_is_asked_again_with_the_same_batch() {
    let bench = Bench::new(1);
    bench.mailbox.whim(|whims| (whims.failures, whims.late_failures) = (5, 5));
    let mut client = Client::new("c");
    (0..10).for_each(|_| bench.answer(&mut client));
    let running = bench.start();
    bench.routed().await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), expected("c", 10));
    assert_eq!(bench.metrics.apply_failures.get(), 10);
    assert_eq!(bench.metrics.group.restarts.get(), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_stands_still_holds_up_no_other() {
    let bench = Bench::new(2);
    bench.results.set_batch(1);
    let stuck = bench.results.partition_of("c0");
    bench.mailbox.whim(|whims| whims.stuck = Some(stuck));
    let running = bench.start();
    for number in 0..200 {
        bench.results.put(answer(&mut Client::new(&format!("c{number}"))));
    }
    let other = Partition(1 - stuck.0);
    soon(bench.mailbox.until_applied(other, bench.results.end(other))).await;
    assert_eq!(bench.mailbox.with_quietly(stuck), Position::START);
    bench.mailbox.whim(|whims| whims.stuck = None);
    bench.routed().await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_hangs_does_not_hold_up_the_end() {
    let bench = Bench::new(1);
    bench.mailbox.whim(|whims| whims.stuck = Some(Partition(0)));
    bench.results.put(answer(&mut Client::new("c")));
    let running = bench.start();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    running.stop().await;
    assert!(began.elapsed() <= RouterConfig::DRAIN_LIMIT, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_given_in_pieces() {
    let mut bench = Bench::new(1);
    bench.config.max_batch = 7.try_into().unwrap();
    let mut client = Client::new("c");
    (0..100).for_each(|_| bench.answer(&mut client));
    let running = bench.start();
    bench.routed().await;
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), expected("c", 100));
    assert_eq!(bench.mailbox.whims.lock().unwrap().largest, 7);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_retention_took_is_a_floor_in_the_mailbox_and_counted() {
    let bench = Bench::new(1);
    let mut client = Client::new("c");
    let offsets: Vec<_> = (0..10).map(|_| bench.results.put(answer(&mut client))).collect();
    let start = Position(offsets[6].0);
    bench.results.truncate(Partition(0), start);
    let running = bench.start();
    bench.routed().await;
    assert_eq!(bench.mailbox.waiting(Partition(0), "c"), [format!("floor {start}")]);
    assert_eq!(bench.metrics.records.get(), 4);
    assert_eq!(bench.metrics.group.overtaken.get(), 1);
    running.stop().await;
}

#[derive(Debug, Clone)]
enum Chaos {
    Append(usize),
    Wait(u64),
    Fail(usize),
    FailLate(usize),
    Forget,
    Crash,
    Restart,
    Neighbour,
}

fn chaos() -> impl Strategy<Value = Chaos> {
    prop_oneof![
        6 => (1usize..20).prop_map(Chaos::Append),
        4 => (0u64..500).prop_map(Chaos::Wait),
        1 => (1usize..4).prop_map(Chaos::Fail),
        1 => (1usize..4).prop_map(Chaos::FailLate),
        1 => Just(Chaos::Forget),
        1 => Just(Chaos::Crash),
        1 => Just(Chaos::Restart),
        1 => Just(Chaos::Neighbour),
    ]
}

async fn survive(steps: Vec<Chaos>) {
    let mut bench = Bench::new(2);
    bench.results.set_batch(5);
    bench.config.max_batch = 3.try_into().unwrap();
    let mut clients: Vec<_> = (0..3).map(|number| Client::new(&format!("c{number}"))).collect();
    let mut sent = 0;
    let mut running = bench.start();
    let mut neighbour: Option<Running> = None;
    for step in steps {
        match step {
            Chaos::Append(count) => {
                for _ in 0..count {
                    clients.iter_mut().for_each(|client| bench.answer(client));
                    sent += 1;
                }
            }
            Chaos::Wait(millis) => tokio::time::sleep(std::time::Duration::from_millis(millis)).await,
            Chaos::Fail(times) => bench.mailbox.whim(|whims| whims.failures = times),
            Chaos::FailLate(times) => bench.mailbox.whim(|whims| whims.late_failures = times),
            Chaos::Forget => bench.mailbox.forget(),
            Chaos::Crash => {
                running.kill().await;
                running = bench.start();
            }
            Chaos::Restart => {
                running.stop().await;
                running = bench.start();
            }
            Chaos::Neighbour => match neighbour.take() {
                Some(neighbour) => neighbour.stop().await,
                None => neighbour = Some(bench.start()),
            },
        }
    }
    bench.routed().await;
    for number in 0..3 {
        let name = format!("c{number}");
        let waiting = bench.mailbox.waiting(bench.results.partition_of(&name), &name);
        assert_eq!(waiting, expected(&name, sent));
    }
    running.stop().await;
    if let Some(neighbour) = neighbour {
        neighbour.stop().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_fails_every_result_is_in_the_mailbox_once(steps in proptest::collection::vec(chaos(), 1..40)) {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        clock.block_on(survive(steps));
    }

    #[test]
    fn pieces_leave_no_hole(count in 0usize..40, max in 1usize..10, gap in 1u64..4) {
        let mut client = Client::new("c");
        let stored = |number: usize| Stored { offset: Offset(10 + number as u64 * gap), record: answer(&mut client) };
        let records: Arc<[_]> = (0..count).map(stored).collect();
        let batch = Batch { partition: Partition(0), from: Position(7), records, next: Position(1_000), provisional: None };
        let pieces = worker::pieces(batch.clone(), max);
        let mut at = batch.from;
        for piece in &pieces {
            prop_assert_eq!(piece.from, at);
            prop_assert!(piece.records.len() <= max);
            at = piece.next;
        }
        prop_assert_eq!(at, batch.next);
        let joined: Vec<_> = pieces.iter().flat_map(|piece| piece.records.iter().cloned()).collect();
        prop_assert_eq!(joined, batch.records.to_vec());
    }
}
