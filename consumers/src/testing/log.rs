//! A log in memory with consumer groups. It keeps the contract of the port (an appender ends with its first failure; readers see
//! durable records only, unless they want to see them early; offsets are not dense) and can be told when appends become durable,
//! and when they fail and how.

mod consumer;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    num::NonZeroU32,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use nimbus_core::{
    GroupId, LogEpoch, Offset, Partition, PartitionCount, Position,
    ports::log::{
        self as port, Appender, Appending, Batch, Committed, Consumer, Decision, Log, LogError, LogRecord, Range,
        Stored, TooLarge,
    },
};
use tokio::sync::Notify;

use self::consumer::{GroupState, MemoryConsumer};

/// What becomes of an append.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It fails and nothing is stored.
    Lost(LogError),
    /// It is stored and yet fails.
    Landed(LogError),
}

#[derive(Debug)]
struct PartitionState<R> {
    start: Position,
    next: u64,
    records: Vec<Stored<R>>,
    /// Appended, and not durable.
    held: Vec<Stored<R>>,
}

#[derive(Debug)]
struct Inner<R> {
    partitions: Vec<PartitionState<R>>,
    groups: BTreeMap<String, GroupState>,
    fates: VecDeque<Fate>,
    /// Of the appends that are held, while they are.
    held: Option<(Decision, port::Fate)>,
    /// Groups do not say that they have taken a member in.
    silent: bool,
    /// How many more times a consumer cannot be served.
    failing_reads: usize,
    /// The next batch wrongly begins here.
    misread: Option<Position>,
    members: u64,
    /// How often what was held was lost.
    losses: u64,
    appends: usize,
    batch_records: usize,
    /// The largest weight of a record.
    most: usize,
}

/// A handle; clones name the same log.
#[derive(Debug, Clone)]
pub(crate) struct MemoryLog<R>(Arc<Shared<R>>);

#[derive(Debug)]
pub(crate) struct Shared<R> {
    inner: Mutex<Inner<R>>,
    changed: Notify,
    /// How often records were taken back that may have been shown, in any log of the store.
    taken_back: Arc<AtomicU64>,
}

impl<R> Deref for MemoryLog<R> {
    type Target = Shared<R>;

    fn deref(&self) -> &Shared<R> {
        &self.0
    }
}

impl<R: LogRecord> MemoryLog<R> {
    pub(crate) fn new(partitions: usize) -> Self {
        Self::in_store(partitions, Arc::default())
    }

    /// One of several logs of a store, which share this.
    pub(crate) fn in_store(partitions: usize, taken_back: Arc<AtomicU64>) -> Self {
        let partition = |_| PartitionState { start: Position(0), next: 0, records: Vec::new(), held: Vec::new() };
        let inner = Inner {
            partitions: (0..partitions).map(partition).collect(),
            groups: BTreeMap::new(),
            fates: VecDeque::new(),
            held: None,
            silent: false,
            failing_reads: 0,
            misread: None,
            members: 0,
            losses: 0,
            appends: 0,
            batch_records: 100,
            most: usize::MAX,
        };
        Self(Arc::new(Shared { inner: Mutex::new(inner), changed: Notify::new(), taken_back }))
    }
}

impl<R: LogRecord> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner<R>) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_waiters();
        value
    }

    /// Waits until `check` says so.
    async fn wait<T>(&self, mut check: impl FnMut(&mut Inner<R>) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = check(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }

    /// The next append meets this fate, the one after it the next.
    pub(crate) fn doom(&self, fates: impl IntoIterator<Item = Fate>) {
        self.change(|inner| inner.fates.extend(fates));
    }

    /// Takes no record that weighs more.
    pub(crate) fn limit(&self, most: usize) {
        self.change(|inner| inner.most = most);
    }

    /// From now on appends become durable only at [`sync`](Self::sync).
    pub(crate) fn hold(&self) {
        self.change(|inner| inner.held = Some(port::Fate::undecided()));
    }

    /// Makes everything appended durable, and holds nothing any more.
    pub(crate) fn sync(&self) {
        self.change(|inner| {
            for partition in &mut inner.partitions {
                partition.records.append(&mut partition.held);
            }
            if let Some((decision, _)) = inner.held.take() {
                decision.durable();
            }
        });
    }

    /// What is not durable is gone, its offsets will be others', and nothing is held any more. Its appends fail.
    pub(crate) fn lose(&self) {
        self.taken_back.fetch_add(1, Ordering::Relaxed);
        self.change(|inner| {
            inner.held = None;
            inner.losses += 1;
            for partition in &mut inner.partitions {
                partition.next = partition.held.first().map_or(partition.next, |first| first.offset.0);
                partition.held.clear();
            }
        });
    }

    /// How many records a consumer gets at once.
    pub(crate) fn set_batch(&self, records: usize) {
        self.change(|inner| inner.batch_records = records);
    }

    /// Whether groups keep to themselves that they have taken a member in.
    pub(crate) fn keep_silent(&self, silent: bool) {
        self.change(|inner| inner.silent = silent);
    }

    /// So many times consumers cannot be served.
    pub(crate) fn fail_reads(&self, times: usize) {
        self.change(|inner| inner.failing_reads = times);
    }

    /// The next batch wrongly begins here.
    pub(crate) fn misread(&self, from: Position) {
        self.change(|inner| inner.misread = Some(from));
    }

    /// Retention: what lies before `start` is gone.
    pub(crate) fn truncate(&self, partition: Partition, start: Position) {
        self.change(|inner| {
            let state = &mut inner.partitions[partition.0 as usize];
            state.start = start;
            state.records.retain(|stored| !start.covers(stored.offset));
        });
    }

    /// Appends one record for its client and makes it durable.
    pub(crate) fn put(&self, record: R) -> Offset {
        let count = PartitionCount(NonZeroU32::new(self.lock().partitions.len() as u32).unwrap());
        let partition = count.partition_of(&record.origin().client);
        self.change(|inner| {
            let offset = inner.store(partition, vec![record])[0];
            let state = &mut inner.partitions[partition.0 as usize];
            state.records.append(&mut state.held);
            offset
        })
    }

    /// Every durable record, partition by partition.
    pub(crate) fn all(&self) -> Vec<R> {
        self.lock()
            .partitions
            .iter()
            .flat_map(|state| state.records.iter().map(|stored| stored.record.clone()))
            .collect()
    }

    /// Waits until there are `count` durable records that `is` says yes to, and returns all there are.
    pub(crate) async fn until(&self, count: usize, is: impl Fn(&R) -> bool) -> Vec<R> {
        self.wait(|inner| {
            let records = inner.partitions.iter().flat_map(|state| state.records.iter().map(|stored| &stored.record));
            let found: Vec<R> = records.filter(|record| is(record)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// How often something was appended.
    pub(crate) fn appends(&self) -> usize {
        self.lock().appends
    }

    pub(crate) async fn until_appends(&self, count: usize) {
        self.wait(|inner| (inner.appends >= count).then_some(())).await;
    }

    pub(crate) fn committed_by(&self, group: &str, partition: Partition) -> Committed {
        let inner = self.lock();
        inner.groups.get(group).and_then(|group| group.committed.get(&partition)).cloned().unwrap_or_default()
    }

    /// How many records a group was handed.
    pub(crate) fn handed_to(&self, group: &str) -> usize {
        self.lock().groups.get(group).map_or(0, |group| group.handed)
    }

    pub(crate) async fn until_committed(&self, group: &str, partition: Partition, position: Position) {
        self.wait(|inner| {
            let committed = inner.groups.get(group)?.committed.get(&partition)?.position;
            (committed >= position).then_some(())
        })
        .await;
    }

    pub(crate) fn end(&self, partition: Partition) -> Position {
        self.lock().partitions[partition.0 as usize].end()
    }

    pub(crate) fn partition_of(&self, client: &str) -> Partition {
        let count = PartitionCount(NonZeroU32::new(self.lock().partitions.len() as u32).unwrap());
        count.partition_of(&nimbus_core::ClientId::try_new(client).unwrap())
    }
}

impl<R: LogRecord> PartitionState<R> {
    fn end(&self) -> Position {
        self.records.last().map_or(self.start, |last| last.offset.position_after())
    }

    fn read(&self, from: Position, records: usize) -> (Arc<[Stored<R>]>, Position) {
        some_of(&self.records, from, records)
    }

    /// What is not yet durable, for who has everything that is.
    fn read_early(&self, from: Position, records: usize) -> (Arc<[Stored<R>]>, Position) {
        some_of(&self.held, from, records)
    }
}

fn some_of<R: Clone>(all: &[Stored<R>], from: Position, records: usize) -> (Arc<[Stored<R>]>, Position) {
    let at = all.partition_point(|stored| from.covers(stored.offset));
    let found: Arc<[Stored<R>]> = all[at..].iter().take(records).cloned().collect();
    let next = found.last().map_or(from, |last| last.offset.position_after());
    (found, next)
}

impl<R: LogRecord> Inner<R> {
    fn store(&mut self, partition: Partition, records: Vec<R>) -> Vec<Offset> {
        let state = &mut self.partitions[partition.0 as usize];
        let mut offsets = Vec::new();
        for record in records {
            let offset = Offset(state.next);
            state.next += 1 + state.next % 3;
            state.held.push(Stored { offset, record });
            offsets.push(offset);
        }
        offsets
    }
}

#[async_trait]
impl<R: LogRecord> Log<R> for MemoryLog<R> {
    fn epoch(&self) -> LogEpoch {
        LogEpoch(ulid::Ulid::nil())
    }

    fn partitions(&self) -> PartitionCount {
        PartitionCount(NonZeroU32::new(self.lock().partitions.len() as u32).unwrap())
    }

    fn fits(&self, record: &R) -> Result<(), TooLarge> {
        let (bytes, most) = (record.weight(), self.lock().most);
        if bytes > most { Err(TooLarge { bytes, most }) } else { Ok(()) }
    }

    async fn ready(&self) {}

    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        self.append_fenced(partition, records, &mut false)
    }

    fn appender(&self) -> Box<dyn Appender<R>> {
        Box::new(MemoryAppender { log: self.clone(), failed: Mutex::new(false), begun: None })
    }

    fn appender_of_answers(&self) -> Box<dyn Appender<R>> {
        let begun = Some(self.taken_back.load(Ordering::Relaxed));
        Box::new(MemoryAppender { log: self.clone(), failed: Mutex::new(false), begun })
    }

    async fn consume(&self, group: &GroupId) -> Result<Box<dyn Consumer<R>>, LogError> {
        Ok(Box::new(MemoryConsumer::join(self, group)))
    }

    async fn range(&self, partition: Partition) -> Result<Range, LogError> {
        let inner = self.lock();
        let state = &inner.partitions[partition.0 as usize];
        Ok(Range { start: state.start, end: state.end() })
    }

    async fn read(&self, partition: Partition, from: Position, _max_bytes: usize) -> Result<Batch<R>, LogError> {
        let inner = self.lock();
        let state = &inner.partitions[partition.0 as usize];
        if from < state.start {
            return Err(LogError::Expired { partition, wanted: from, start: state.start });
        }
        let (records, next) = state.read(from, inner.batch_records);
        Ok(Batch { partition, from, records, next, provisional: None })
    }

    async fn committed(&self, _partition: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
        Ok(Vec::new())
    }
}

/// Fails for good with its first failure, seen or not.
#[derive(Debug)]
struct MemoryAppender<R> {
    log: MemoryLog<R>,
    failed: Mutex<bool>,
    /// Nothing may have been taken back since then.
    begun: Option<u64>,
}

impl<R: LogRecord> Appender<R> for MemoryAppender<R> {
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        let mut failed = self.failed.lock().unwrap();
        *failed |= self.begun.is_some_and(|begun| begun != self.log.taken_back.load(Ordering::Relaxed));
        self.log.append_fenced(partition, records, &mut failed)
    }
}

impl<R: LogRecord> MemoryLog<R> {
    fn append_fenced(&self, partition: Partition, records: Vec<R>, failed: &mut bool) -> Appending {
        assert!(!records.is_empty());
        let behind = Fate::Lost(LogError::Unavailable("an append before it failed".to_owned()));
        let losses = self.lock().losses;
        let (end, failure) = self.change(|inner| {
            inner.appends += 1;
            let fate = if *failed { Some(behind) } else { inner.fates.pop_front() };
            if let Some(Fate::Lost(error)) = fate {
                return (None, Some(error));
            }
            let end = inner.store(partition, records).last().map(|last| last.position_after());
            if inner.held.is_none() {
                let state = &mut inner.partitions[partition.0 as usize];
                state.records.append(&mut state.held);
            }
            match fate {
                Some(Fate::Landed(error)) => (end, Some(error)),
                _ => (end, None),
            }
        });
        *failed |= failure.is_some();
        let log = self.clone();
        Box::pin(async move {
            if let Some(error) = failure {
                return Err(error);
            }
            let end = end.expect("stored");
            log.wait(|inner| {
                let lost = || LogError::Ambiguous("it was lost".to_owned());
                let durable = inner.partitions[partition.0 as usize].end() >= end;
                (durable || inner.losses > losses).then(|| if durable { Ok(end) } else { Err(lost()) })
            })
            .await
        })
    }
}

/// Waits for `future`, and fails the test rather than hang.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(3_600);
    tokio::time::timeout(limit, future).await.expect("it did not happen within an hour of test time")
}
