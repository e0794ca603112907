//! One member of a consumer group: a task that reads, and one worker task per partition that it owns.
//!
//! The reader hands batches out and never waits for a worker, so that a partition that stands still holds up no other. A
//! worker says from where it wants to read, takes batches, and notes what it has finished; commits, pauses, rebalances,
//! restarts and the end are the reader's business. In the worst case (a worker that gave up or panicked) the partition
//! is read again from its last commit by a fresh worker: work is repeated, nothing is skipped.

mod desk;
mod joining;
mod seat;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use nimbus_core::{
    Partition, Position,
    ports::log::{Batch, Committed, Consumer, ConsumerEvent, Log, LogError, LogRecord},
};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::{
    desk::Handed,
    joining::join,
    seat::{Leaving, Seat},
};
use crate::{Backoff, ConsumersError, metrics::GroupMetrics};

pub(crate) use desk::Desk;

/// What a worker starts with.
#[derive(Debug)]
pub(crate) struct Start<R> {
    pub(crate) partition: Partition,
    /// Where its predecessor got to.
    pub(crate) committed: Committed,
    /// The log begins here: retention has passed everything before.
    pub(crate) log_start: Position,
    /// How many workers of this partition failed in a row before this one; it waits accordingly before it reads.
    pub(crate) failures: u32,
    pub(crate) desk: Desk<R>,
    /// Cancelled when the partition is to be left: settle, note what is finished, end.
    pub(crate) stop: CancellationToken,
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) enum WorkerEnd {
    /// It was stopped, or its group is gone. It appends nothing any more.
    Stopped,
    /// It lost its ground: read again from the commit.
    GaveUp(LogError),
    /// No restart can help.
    Broken(LogError),
}

/// Makes workers.
pub(crate) trait Crew<R: LogRecord>: Send {
    /// The work of one partition. It must ask for a position ([`Desk::read_from`]) before it gets batches.
    fn work(&mut self, start: Start<R>) -> BoxFuture<'static, WorkerEnd>;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupConfig {
    pub(crate) name: &'static str,
    pub(crate) commit_interval: Duration,
    pub(crate) lag_interval: Duration,
    pub(crate) drain_limit: Duration,
    pub(crate) backoff: Backoff,
    /// Workers can begin with records that are not yet durable ([`Consumer::show_early`]).
    pub(crate) early: bool,
}

impl GroupConfig {
    /// What of the drain limit a worker may use; the rest is for the last commits.
    pub(crate) fn worker_limit(drain_limit: Duration) -> Duration {
        drain_limit.mul_f64(0.75)
    }
}

/// Takes part in the group until `shutdown`; then lets every worker settle, commits and flushes, within the drain limit. Drops
/// `joining` when the group has taken it in.
pub(crate) async fn run<R: LogRecord>(
    log: Arc<dyn Log<R>>,
    crew: impl Crew<R>,
    config: GroupConfig,
    metrics: GroupMetrics,
    joining: impl Send,
    shutdown: CancellationToken,
) -> Result<(), ConsumersError> {
    let Some(mut consumer) = join(&*log, &config, &metrics, &shutdown).await? else { return Ok(()) };
    if config.early {
        consumer.show_early();
    }
    let member = Member {
        log,
        consumer,
        crew,
        config,
        metrics,
        seats: BTreeMap::new(),
        workers: JoinSet::new(),
        by_task: HashMap::new(),
        told: 0,
        bell: Arc::new(Notify::new()),
    };
    member.run(joining, shutdown).await
}

struct Member<R: LogRecord, C> {
    log: Arc<dyn Log<R>>,
    consumer: Box<dyn Consumer<R>>,
    crew: C,
    config: GroupConfig,
    metrics: GroupMetrics,
    /// In the order of the partitions, in which they are served and committed.
    seats: BTreeMap<Partition, Seat<R>>,
    workers: JoinSet<WorkerEnd>,
    by_task: HashMap<tokio::task::Id, Partition>,
    /// How many partitions the log last said that this member owns.
    told: usize,
    bell: Arc<Notify>,
}

type Joined = Result<(tokio::task::Id, WorkerEnd), JoinError>;

impl<R: LogRecord, C: Crew<R>> Member<R, C> {
    async fn run(mut self, joining: impl Send, shutdown: CancellationToken) -> Result<(), ConsumersError> {
        let outcome = self.read(joining, &shutdown).await;
        self.close().await;
        outcome.map_err(|source| ConsumersError::Log { group: self.config.name, source })
    }

    async fn read(&mut self, joining: impl Send, shutdown: &CancellationToken) -> Result<(), LogError> {
        let (mut joined, mut joining) = (Some(self.consumer.joined()), Some(joining));
        // Only while there is something to commit: an idle group wakes nobody.
        let mut commit_at: Option<Instant> = None;
        let mut lag_tick = tokio::time::interval(self.config.lag_interval);
        lag_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lag: Option<BoxFuture<'static, u64>> = None;
        let mut failures = 0;
        let mut not_before: Option<Instant> = None;
        let bell = Arc::clone(&self.bell);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(joined) = self.workers.join_next_with_id() => self.ended(joined)?,
                () = bell.notified() => {
                    self.serve();
                    if commit_at.is_none() && self.seats.values().any(|seat| seat.counter.has_finished()) {
                        commit_at = Some(Instant::now() + self.config.commit_interval);
                    }
                }
                () = until(commit_at), if commit_at.is_some() => {
                    commit_at = None;
                    self.commit();
                }
                positions = poll_some(&mut lag) => {
                    self.metrics.lag.set(i64::try_from(positions).unwrap_or(i64::MAX));
                    lag = None;
                }
                _ = lag_tick.tick(), if lag.is_none() => lag = Some(self.measure_lag()),
                () = poll_some(&mut joined) => {
                    joined = None;
                    drop(joining.take());
                }
                () = until(not_before), if not_before.is_some() => not_before = None,
                event = self.consumer.next(), if not_before.is_none() => match event {
                    Ok(event) => {
                        failures = 0;
                        self.take(event);
                    }
                    Err(LogError::Expired { partition, wanted, start }) => self.overtaken(partition, wanted, start),
                    Err(error @ (LogError::Damaged(_) | LogError::Replaced(_) | LogError::Closed)) => return Err(error),
                    Err(error) => {
                        failures += 1;
                        self.metrics.read_failures.inc();
                        warn!(group = self.config.name, %error, failures, "cannot read just now");
                        not_before = Some(Instant::now() + self.config.backoff.jittered(failures));
                    }
                },
                // Last: only when no assignment is left to take, so that all of a start are one line.
                () = std::future::ready(()), if self.told != self.seats.len() => self.tell(),
            }
        }
    }

    fn tell(&mut self) {
        self.told = self.seats.len();
        info!(group = self.config.name, partitions = self.told, "partitions assigned");
    }

    fn take(&mut self, event: ConsumerEvent<R>) {
        match event {
            ConsumerEvent::Records(batch) => self.hand_out(batch),
            ConsumerEvent::Assigned { partition, committed } => {
                debug!(group = self.config.name, %partition, position = %committed.position, "partition assigned");
                // What was read ahead before the worker said from where is dropped and read again.
                self.consumer.pause(partition);
                self.start(partition, committed, Position::START, 0);
            }
            ConsumerEvent::Revoked { partition } => match self.seats.get_mut(&partition) {
                Some(seat) => seat.leave(Leaving::Revoked),
                None => self.consumer.release(partition),
            },
        }
    }

    fn start(&mut self, partition: Partition, committed: Committed, log_start: Position, failures: u32) {
        let (counter, desk) = desk::desk(&self.bell);
        let stop = CancellationToken::new();
        let seat = Seat::new(counter, stop.clone(), committed.clone(), log_start, failures);
        let work = self.crew.work(Start { partition, committed, log_start, failures, desk, stop });
        let task = self.workers.spawn(work);
        self.by_task.insert(task.id(), partition);
        self.seats.insert(partition, seat.with_task(task));
        self.count_partitions();
    }

    fn count_partitions(&self) {
        self.metrics.partitions.set(i64::try_from(self.seats.len()).unwrap_or(i64::MAX));
    }

    fn hand_out(&mut self, batch: Batch<R>) {
        let (partition, from, next) = (batch.partition, batch.from, batch.next);
        let Some(seat) = self.seats.get_mut(&partition) else { return };
        let Some(expected) = seat.expected() else { return };
        if from != expected {
            // Never seen of a log that keeps its contract; taking it would skip or repeat records unnoticed.
            self.metrics.misreads.inc();
            error!(group = self.config.name, %partition, %expected, %from, "read from the wrong place, reading again");
            self.consumer.seek(partition, expected);
            return;
        }
        match seat.counter.hand(batch) {
            Handed::Taken => seat.next = Some(next),
            Handed::Last => {
                seat.next = Some(next);
                self.metrics.pauses.inc();
                self.consumer.pause(partition);
            }
            Handed::Refused => {
                self.consumer.pause(partition);
                self.consumer.seek(partition, expected);
            }
        }
    }

    /// Does what the workers want.
    fn serve(&mut self) {
        for (partition, seat) in &mut self.seats {
            let wants = seat.counter.take_wants();
            if seat.is_leaving() {
                continue;
            }
            if let Some(position) = wants.seek {
                seat.next = Some(position);
                self.consumer.seek(*partition, position);
            }
            if wants.resume || wants.seek.is_some() {
                self.consumer.resume(*partition);
            }
        }
    }

    fn commit(&mut self) {
        for (partition, seat) in &mut self.seats {
            if let Some(committed) = seat.take_finished() {
                self.metrics.commits.inc();
                self.consumer.commit(*partition, committed);
            }
        }
    }

    /// A worker ended: start the next one, or let the partition go.
    fn ended(&mut self, joined: Joined) -> Result<(), LogError> {
        let (task, end) = match joined {
            Ok((task, end)) => (task, Some(end)),
            Err(error) => (error.id(), None),
        };
        let Some(partition) = self.by_task.remove(&task) else { return Ok(()) };
        let Some(mut seat) = self.seats.remove(&partition) else { return Ok(()) };
        if let Some(committed) = seat.take_finished() {
            self.consumer.commit(partition, committed);
        }
        match seat.leaving() {
            Some(Leaving::Revoked) => {
                debug!(group = self.config.name, %partition, position = %seat.committed.position, "partition released");
                self.consumer.release(partition);
                self.count_partitions();
                return Ok(());
            }
            Some(Leaving::Overtaken) => {
                self.start(partition, seat.committed, seat.log_start, 0);
                return Ok(());
            }
            None => {}
        }
        let failures = seat.failures_in_a_row();
        self.metrics.restarts.inc();
        match end {
            Some(WorkerEnd::Broken(error)) => return Err(error),
            Some(WorkerEnd::GaveUp(error)) => {
                warn!(group = self.config.name, %partition, %error, failures, "partition given up, reading again");
            }
            Some(WorkerEnd::Stopped) => error!(group = self.config.name, %partition, "a worker ended by itself"),
            None => error!(group = self.config.name, %partition, failures, "a worker panicked, reading again"),
        }
        self.consumer.pause(partition);
        self.start(partition, seat.committed, seat.log_start, failures);
        Ok(())
    }

    /// Retention has passed what is not finished: what is gone is gone, and everybody is told.
    fn overtaken(&mut self, partition: Partition, wanted: Position, start: Position) {
        self.metrics.overtaken.inc();
        error!(group = self.config.name, %partition, %wanted, %start, "retention has passed records that were not finished");
        self.consumer.pause(partition);
        self.consumer.seek(partition, start);
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.overtake(start);
        }
    }

    /// How many positions lie between the ends of the partitions and what is finished of them.
    fn measure_lag(&self) -> BoxFuture<'static, u64> {
        let log = Arc::clone(&self.log);
        let finished: Vec<_> =
            self.seats.iter().map(|(partition, seat)| (*partition, seat.committed.position)).collect();
        Box::pin(async move {
            let mut lag = 0;
            for (partition, position) in finished {
                // A log that does not answer is noticed, and counted, by whoever reads it.
                if let Ok(range) = log.range(partition).await {
                    lag += range.end.0.saturating_sub(position.0);
                }
            }
            lag
        })
    }

    async fn join_workers(&mut self, deadline: Instant) {
        while let Ok(Some(joined)) = tokio::time::timeout_at(deadline, self.workers.join_next_with_id()).await {
            if let Err(error) = self.ended(joined) {
                warn!(group = self.config.name, %error, "a worker broke while the group was closing");
            }
        }
    }

    /// Lets every worker settle, commits what they finished, flushes, leaves the group.
    async fn close(&mut self) {
        let deadline = Instant::now() + self.config.drain_limit;
        for seat in self.seats.values_mut() {
            seat.leave(Leaving::Revoked);
        }
        self.join_workers(deadline).await;
        let last = deadline.max(Instant::now() + MIN_FLUSH);
        if !self.workers.is_empty() {
            let stragglers: Vec<_> = self.seats.keys().map(|partition| partition.0).collect();
            warn!(group = self.config.name, ?stragglers, "partitions did not settle in time");
            self.workers.abort_all();
            // An aborted worker ends at its next suspension; only then is it certain to append nothing any more.
            self.join_workers(last).await;
        }
        match tokio::time::timeout_at(last, self.consumer.flush()).await {
            Ok(Ok(())) => info!(group = self.config.name, "left the group"),
            Ok(Err(error)) => {
                warn!(group = self.config.name, %error, "the last commits are lost, work will be repeated")
            }
            Err(_) => warn!(group = self.config.name, "the last commits took too long, work may be repeated"),
        }
    }
}

/// Even when the workers used up the drain limit, those that are aborted and the commits get a moment, together.
const MIN_FLUSH: Duration = Duration::from_millis(500);

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn poll_some<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
