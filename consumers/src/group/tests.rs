//! A group's member and its workers, with workers that do as they are told.

use nimbus_core::{Event, Offset};
use tokio::sync::mpsc;

use super::*;
use crate::testing::{Client, MemoryLog, soon};

const NAME: &str = "test-group";

/// Gives every worker's start to the test, which then plays the worker.
struct Puppets(mpsc::UnboundedSender<Puppet>);

struct Puppet {
    start: Start<Event>,
    end: tokio::sync::oneshot::Sender<Option<WorkerEnd>>,
}

impl Crew<Event> for Puppets {
    fn work(&mut self, start: Start<Event>) -> BoxFuture<'static, WorkerEnd> {
        let (end, ended) = tokio::sync::oneshot::channel();
        self.0.send(Puppet { start, end }).expect("the test goes on");
        Box::pin(async move { ended.await.expect("the test ends every worker").expect("told to panic") })
    }
}

struct Stage {
    log: MemoryLog<Event>,
    metrics: GroupMetrics,
    puppets: mpsc::UnboundedReceiver<Puppet>,
    shutdown: CancellationToken,
    member: tokio::task::JoinHandle<Result<(), ConsumersError>>,
}

fn stage(log: MemoryLog<Event>) -> Stage {
    stage_with(log, ())
}

fn stage_with(log: MemoryLog<Event>, joining: impl Send + 'static) -> Stage {
    let (starts, puppets) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let config = GroupConfig {
        name: NAME,
        commit_interval: Duration::from_millis(50),
        lag_interval: Duration::from_secs(5),
        drain_limit: Duration::from_secs(8),
        backoff: Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1) },
        early: false,
    };
    let metrics = GroupMetrics::default();
    let member = run(Arc::new(log.clone()), Puppets(starts), config, metrics.clone(), joining, shutdown.clone());
    Stage { log, metrics, puppets, shutdown, member: tokio::spawn(member) }
}

impl Stage {
    async fn puppet(&mut self) -> Puppet {
        soon(self.puppets.recv()).await.unwrap()
    }
}

impl Puppet {
    async fn batch(&mut self) -> Batch<Event> {
        soon(self.start.desk.batch()).await.unwrap()
    }

    fn finish(&self, position: Position) {
        self.start.desk.finished(Committed { position, ..Committed::default() });
    }

    fn end(self, end: Option<WorkerEnd>) {
        drop(self.start);
        self.end.send(end).unwrap();
    }
}

fn gave_up() -> Option<WorkerEnd> {
    Some(WorkerEnd::GaveUp(LogError::Ambiguous("test".to_owned())))
}

fn events(log: &MemoryLog<Event>, count: usize) -> Vec<Offset> {
    let mut client = Client::new("c");
    (0..count).map(|_| log.put(client.event("any", ""))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_worker_reads_from_where_it_says_and_what_it_finishes_is_committed() {
    let log = MemoryLog::new(1);
    let offsets = events(&log, 10);
    log.set_batch(3);
    let mut stage = stage(log);
    let mut puppet = stage.puppet().await;
    puppet.start.desk.read_from(Position(offsets[4].0));
    let batch = puppet.batch().await;
    assert_eq!(batch.from, Position(offsets[4].0));
    assert_eq!(batch.records.iter().map(|stored| stored.offset).collect::<Vec<_>>(), offsets[4..7]);
    puppet.finish(batch.next);
    soon(stage.log.until_committed(NAME, Partition(0), batch.next)).await;
    assert_eq!(puppet.batch().await.from, batch.next);
    stage.shutdown.cancel();
    soon(puppet.start.stop.cancelled()).await;
    puppet.finish(Position(offsets[9].0));
    puppet.end(Some(WorkerEnd::Stopped));
    soon(stage.member).await.unwrap().unwrap();
    let committed = stage.log.committed_by(NAME, Partition(0)).position;
    assert_eq!(committed, Position(offsets[9].0), "the last word of a worker is committed too");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_for_the_join_is_let_go_when_the_group_has_taken_the_member_in() {
    let log = MemoryLog::new(1);
    log.keep_silent(true);
    let (joining, mut let_go) = tokio::sync::oneshot::channel::<()>();
    let mut stage = stage_with(log, joining);
    // It has its partition; that is all the same.
    let mut puppet = stage.puppet().await;
    events(&stage.log, 1);
    puppet.start.desk.read_from(Position::START);
    puppet.batch().await;
    assert_eq!(let_go.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty));
    stage.log.keep_silent(false);
    soon(let_go).await.unwrap_err();
    stage.member.abort();
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_or_a_failure_the_partition_is_read_again_from_its_commit() {
    let log = MemoryLog::new(1);
    events(&log, 10);
    log.set_batch(2);
    let mut stage = stage(log);
    let mut committed = Position::START;
    for (round, end) in [None, gave_up(), None].into_iter().enumerate() {
        let mut puppet = stage.puppet().await;
        assert_eq!(puppet.start.committed.position, committed);
        assert_eq!(puppet.start.failures, u32::from(round > 0), "each got something finished");
        puppet.start.desk.read_from(committed);
        committed = puppet.batch().await.next;
        puppet.finish(committed);
        puppet.batch().await;
        puppet.end(end);
    }
    let mut puppet = stage.puppet().await;
    puppet.start.desk.read_from(committed);
    assert_eq!(puppet.batch().await.from, committed);
    assert_eq!(stage.metrics.restarts.get(), 3);
    stage.shutdown.cancel();
    puppet.end(Some(WorkerEnd::Stopped));
    soon(stage.member).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_are_counted_until_something_is_finished() {
    let log = MemoryLog::new(1);
    events(&log, 1);
    let mut stage = stage(log);
    for failures in 0..5 {
        let puppet = stage.puppet().await;
        assert_eq!(puppet.start.failures, failures);
        puppet.end(gave_up());
    }
    let puppet = stage.puppet().await;
    puppet.finish(Position(1));
    puppet.end(gave_up());
    assert_eq!(stage.puppet().await.start.failures, 1);
    stage.member.abort();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stands_still_pauses_its_partition_only() {
    let log = MemoryLog::new(2);
    log.set_batch(1);
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    for name in &names {
        log.put(Client::new(name).event("any", ""));
    }
    let count = |partition| names.iter().filter(|name| log.partition_of(name) == Partition(partition)).count();
    let mut stage = stage(log.clone());
    let (mut first, second) = (stage.puppet().await, stage.puppet().await);
    first.start.desk.read_from(Position::START);
    second.start.desk.read_from(Position::START);
    let partition = first.start.partition;
    for _ in 0..count(partition.0) {
        assert_eq!(first.batch().await.partition, partition);
    }
    assert!(stage.metrics.pauses.get() >= 1);
    stage.member.abort();
}

#[tokio::test(start_paused = true)]
async fn a_batch_from_the_wrong_place_is_not_taken() {
    let log = MemoryLog::new(1);
    let offsets = events(&log, 6);
    log.set_batch(1);
    let mut stage = stage(log);
    let mut puppet = stage.puppet().await;
    puppet.start.desk.read_from(Position::START);
    stage.log.misread(Position(offsets[4].0));
    for offset in offsets {
        assert_eq!(puppet.batch().await.records[0].offset, offset);
    }
    assert_eq!(stage.metrics.misreads.get(), 1);
    stage.member.abort();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_end_does_not_hold_up_the_end() {
    let mut stage = stage(MemoryLog::new(1));
    let _puppet = stage.puppet().await;
    let began = Instant::now();
    stage.shutdown.cancel();
    soon(stage.member).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_broken_worker_ends_the_member() {
    let mut stage = stage(MemoryLog::new(1));
    stage.puppet().await.end(Some(WorkerEnd::Broken(LogError::Damaged("test".to_owned()))));
    let ended = soon(stage.member).await.unwrap();
    assert!(matches!(ended, Err(ConsumersError::Log { group: NAME, source: LogError::Damaged(_) })));
}

#[tokio::test(start_paused = true)]
async fn the_lag_is_what_lies_between_the_end_and_what_is_finished() {
    let log = MemoryLog::new(1);
    let offsets = events(&log, 10);
    let end = log.end(Partition(0));
    let mut stage = stage(log);
    let puppet = stage.puppet().await;
    puppet.finish(Position(offsets[5].0));
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(stage.metrics.lag.get() as u64, end.0 - offsets[5].0);
    stage.member.abort();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_reached_is_tried_again() {
    let log = MemoryLog::new(1);
    let offsets = events(&log, 1);
    log.fail_reads(5);
    let mut stage = stage(log);
    let mut puppet = stage.puppet().await;
    puppet.start.desk.read_from(Position::START);
    assert_eq!(puppet.batch().await.records[0].offset, offsets[0]);
    assert_eq!(stage.metrics.read_failures.get(), 5);
    stage.member.abort();
}
