//! One partition of the router: asks the mailbox how far it is, reads from there, gives it one batch after the other.

use std::sync::Arc;

use nimbus_core::{
    Position, ResultRecord,
    ports::{
        log::{Batch, Committed},
        mailbox::{Applied, Mailbox, MailboxError},
    },
};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    RouterConfig, RouterMetrics,
    group::{Start, WorkerEnd},
};

#[derive(Debug)]
pub(super) struct Worker {
    mailbox: Arc<dyn Mailbox>,
    config: RouterConfig,
    metrics: RouterMetrics,
    start: Start<ResultRecord>,
    /// Where the mailbox is, as far as this worker knows.
    applied: Position,
}

/// The partition is to be left.
struct Stopped;

impl Worker {
    pub(super) fn new(
        mailbox: Arc<dyn Mailbox>,
        config: RouterConfig,
        metrics: RouterMetrics,
        start: Start<ResultRecord>,
    ) -> Self {
        Self { mailbox, config, metrics, start, applied: Position::START }
    }

    pub(super) async fn work(mut self) -> WorkerEnd {
        match self.route().await {
            Ok(()) | Err(Stopped) => WorkerEnd::Stopped,
        }
    }

    async fn route(&mut self) -> Result<(), Stopped> {
        if self.start.failures > 0 {
            self.pause(self.start.failures).await?;
        }
        self.applied = self.ask().await?;
        self.read_from(self.applied);
        while let Some(batch) = self.next_batch().await? {
            for piece in pieces(batch, self.config.max_batch.get()) {
                // Read ahead from before a hole was found: it comes again.
                if piece.from > self.applied {
                    continue;
                }
                self.apply(&piece).await?;
            }
        }
        Ok(())
    }

    async fn next_batch(&mut self) -> Result<Option<Batch<ResultRecord>>, Stopped> {
        tokio::select! {
            biased;
            () = self.start.stop.cancelled() => Err(Stopped),
            batch = self.start.desk.batch() => Ok(batch),
        }
    }

    /// Says to the group where to read.
    fn read_from(&self, position: Position) {
        self.start.desk.read_from(position);
    }

    /// How far the mailbox is.
    async fn ask(&self) -> Result<Position, Stopped> {
        let mut failures = 0;
        loop {
            match self.mailbox.applied(self.start.partition).await {
                Ok(applied) => return Ok(applied),
                Err(error) => self.failed(&error, &mut failures).await?,
            }
        }
    }

    /// Gives the mailbox one batch, as often as it takes: all or nothing of it is applied each time.
    async fn apply(&mut self, batch: &Batch<ResultRecord>) -> Result<(), Stopped> {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            match self.mailbox.apply(batch).await {
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

    async fn failed(&self, error: &MailboxError, failures: &mut u32) -> Result<(), Stopped> {
        *failures += 1;
        self.metrics.apply_failures.inc();
        warn!(partition = %self.start.partition, %error, failures, "the mailbox does not answer, trying again");
        self.pause(*failures).await
    }

    async fn pause(&self, failures: u32) -> Result<(), Stopped> {
        tokio::select! {
            () = tokio::time::sleep(self.config.backoff.jittered(failures)) => Ok(()),
            () = self.start.stop.cancelled() => Err(Stopped),
        }
    }
}

/// The same records in batches of at most `max`, with no hole in between.
fn pieces(batch: Batch<ResultRecord>, max: usize) -> Vec<Batch<ResultRecord>> {
    if batch.records.len() <= max {
        return vec![batch];
    }
    let mut from = batch.from;
    let mut rest = batch.records.len();
    let piece = |records: &[_]| {
        rest -= records.len();
        let last: Option<&nimbus_core::ports::log::Stored<ResultRecord>> = records.last();
        let next = if rest == 0 { batch.next } else { last.map_or(batch.next, |last| last.offset.position_after()) };
        let piece = Batch { partition: batch.partition, from, records: records.into(), next };
        from = next;
        piece
    };
    batch.records.chunks(max).map(piece).collect()
}
