//! One partition of the router: asks the mailbox how far it is, reads from there, gives it one batch after the other.

use std::fmt;

use nimbus_core::{
    Position, ResultRecord,
    ports::{
        log::{Batch, Committed, LogError},
        mailbox::Applied,
    },
};
use tokio::time::Instant;
use tracing::{error, warn};

use super::{Evidence, RouterPorts, evidence};
use crate::{
    RouterConfig, RouterMetrics,
    group::{Start, WorkerEnd},
};

#[derive(Debug)]
pub(super) struct Worker {
    ports: RouterPorts,
    config: RouterConfig,
    metrics: RouterMetrics,
    start: Start<ResultRecord>,
    /// Where the mailbox is, as far as this worker knows.
    applied: Position,
}

/// Why the work ends.
enum Left {
    /// The partition is to be left.
    Stopped,
    /// What the log holds is not what the mailbox knows: nothing may be folded in on top of that.
    Broken(LogError),
}

/// What there is to do.
enum Next {
    /// A batch; none when the group is gone.
    Batch(Option<Batch<ResultRecord>>),
    /// Nothing came for a while.
    Idle,
}

impl Worker {
    pub(super) fn new(
        ports: RouterPorts,
        config: RouterConfig,
        metrics: RouterMetrics,
        start: Start<ResultRecord>,
    ) -> Self {
        Self { ports, config, metrics, start, applied: Position::START }
    }

    pub(super) async fn work(mut self) -> WorkerEnd {
        match self.route().await {
            Ok(()) | Err(Left::Stopped) => WorkerEnd::Stopped,
            Err(Left::Broken(error)) => WorkerEnd::Broken(error),
        }
    }

    async fn route(&mut self) -> Result<(), Left> {
        if self.start.failures > 0 {
            self.pause(self.start.failures).await?;
        }
        self.compare().await?;
        self.applied = self.ask().await?;
        let log_start = self.start.log_start;
        if self.applied < log_start {
            self.skip_to(log_start).await?;
            self.applied = log_start;
        }
        self.read_from(self.applied);
        loop {
            let batch = match self.next_batch().await? {
                Next::Batch(Some(batch)) => batch,
                Next::Batch(None) => return Ok(()),
                Next::Idle => {
                    self.check().await;
                    continue;
                }
            };
            for piece in pieces(batch, self.config.max_batch.get()) {
                // Read ahead from before a hole was found: it comes again.
                if piece.from > self.applied {
                    continue;
                }
                self.apply(&piece).await?;
            }
        }
    }

    async fn next_batch(&mut self) -> Result<Next, Left> {
        tokio::select! {
            biased;
            () = self.start.stop.cancelled() => Err(Left::Stopped),
            batch = self.start.desk.batch() => Ok(Next::Batch(batch)),
            () = tokio::time::sleep(self.config.check_interval) => Ok(Next::Idle),
        }
    }

    /// Whether the mailbox still is where it was (rules 16 and 20). Not answering is no news: it is asked again.
    async fn check(&mut self) {
        match self.ports.mailbox.applied(self.start.partition).await {
            Ok(applied) if applied < self.applied => {
                self.metrics.regressions.inc();
                error!(partition = %self.start.partition, was = %self.applied, %applied, "the mailbox lost its memory, filling it again");
                self.applied = applied;
                self.read_from(applied);
            }
            Ok(applied) => self.applied = applied,
            Err(error) => {
                self.metrics.apply_failures.inc();
                warn!(partition = %self.start.partition, %error, "the mailbox does not answer");
            }
        }
    }

    /// Says to the group where to read.
    fn read_from(&self, position: Position) {
        self.start.desk.read_from(position);
    }

    /// Rule 16: what is folded in from now on is the continuation of what was folded in before, or nothing is.
    async fn compare(&self) -> Result<(), Left> {
        let partition = self.start.partition;
        let mut failures = 0;
        loop {
            let landmark = match self.ports.mailbox.landmark(partition).await {
                Ok(landmark) => landmark,
                Err(error) => {
                    self.failed(&error, &mut failures).await?;
                    continue;
                }
            };
            match evidence(&*self.ports.results, partition, landmark).await {
                Ok(Evidence::Same | Evidence::None) => return Ok(()),
                Ok(Evidence::Other) => {
                    let what = format!("partition {partition} does not hold what was last folded into the mailbox");
                    return Err(Left::Broken(LogError::Replaced(what)));
                }
                Err(LogError::Closed) => return Err(Left::Stopped),
                Err(error @ LogError::Damaged(_)) => return Err(Left::Broken(error)),
                Err(error) => self.failed(&error, &mut failures).await?,
            }
        }
    }

    /// How far the mailbox is.
    async fn ask(&self) -> Result<Position, Left> {
        let mut failures = 0;
        loop {
            match self.ports.mailbox.applied(self.start.partition).await {
                Ok(applied) => return Ok(applied),
                Err(error) => self.failed(&error, &mut failures).await?,
            }
        }
    }

    /// Retention has passed what the mailbox holds: only it can turn that into a GAP for whoever asks.
    async fn skip_to(&self, log_start: Position) -> Result<(), Left> {
        let mut failures = 0;
        loop {
            match self.ports.mailbox.skip_to(self.start.partition, log_start).await {
                Ok(()) => return Ok(()),
                Err(error) => self.failed(&error, &mut failures).await?,
            }
        }
    }

    /// Gives the mailbox one batch, as often as it takes: all or nothing of it is applied each time.
    async fn apply(&mut self, batch: &Batch<ResultRecord>) -> Result<(), Left> {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            match self.ports.mailbox.apply(batch).await {
                Ok(Applied::Through { applied, fresh, duplicates }) => {
                    self.metrics.apply.observe(began.elapsed().as_secs_f64());
                    self.metrics.batches.inc();
                    self.metrics.records.inc_by(fresh as u64);
                    self.metrics.duplicates.inc_by(duplicates as u64);
                    self.applied = applied;
                    self.start.desk.finished(Committed { position: applied, ..Committed::default() });
                    return Ok(());
                }
                Ok(Applied::Hole { applied }) => {
                    self.metrics.holes.inc();
                    warn!(from = %batch.from, %applied, "the mailbox is not that far, reading again from where it is");
                    self.applied = applied;
                    self.read_from(applied);
                    return Ok(());
                }
                Err(error) => self.failed(&error, &mut failures).await?,
            }
        }
    }

    async fn failed(&self, error: &impl fmt::Display, failures: &mut u32) -> Result<(), Left> {
        *failures += 1;
        self.metrics.apply_failures.inc();
        warn!(partition = %self.start.partition, %error, failures, "no answer, trying again");
        self.pause(*failures).await
    }

    async fn pause(&self, failures: u32) -> Result<(), Left> {
        tokio::select! {
            biased;
            () = self.start.stop.cancelled() => Err(Left::Stopped),
            () = tokio::time::sleep(self.config.backoff.jittered(failures)) => Ok(()),
        }
    }
}

/// The same records in batches of at most `max`, with no hole in between.
pub(super) fn pieces(batch: Batch<ResultRecord>, max: usize) -> Vec<Batch<ResultRecord>> {
    if batch.records.len() <= max {
        return vec![batch];
    }
    let mut from = batch.from;
    let mut rest = batch.records.len();
    let piece = |records: &[_]| {
        rest -= records.len();
        let last: Option<&nimbus_core::ports::log::Stored<ResultRecord>> = records.last();
        let next = if rest == 0 { batch.next } else { last.map_or(batch.next, |last| last.offset.position_after()) };
        let piece = Batch { partition: batch.partition, from, records: records.into(), next, provisional: None };
        from = next;
        piece
    };
    batch.records.chunks(max).map(piece).collect()
}
