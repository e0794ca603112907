//! The embedded mailbox: the pure rules of `nimbus_core::mailbox` in memory, one lock per partition.
//!
//! Claims, and the positions of clients of the original protocol, go through the state journal; the fold and what waits are
//! derived from the results log. A snapshot (when a segment is full) saves folding the whole log again after a restart.
//! No lock is held across an await, and a lock is taken once per batch, never once per record.
//!
//! At worst the snapshot is lost: then the router folds the whole results log again, and until it is through, clients are
//! served from the log.

mod codec;
mod metrics;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use async_trait::async_trait;
use nimbus_core::{
    ClientId, Partition, PartitionCount, Position, ResultRecord, ServerId, SessionId,
    clock::Clock,
    mailbox::{ApplyOutcome, Granted, LogStarts, MailboxLimits, PartitionMailbox, TOKEN_BYTES, Undo},
    ports::{
        log::{Appending, Batch, Range},
        mailbox::{Applied, Claim, ClaimError, Claimed, Head, Landmark, Mailbox, MailboxAck, MailboxError, Page},
        notifier::Notification,
    },
};

use self::metrics::ClaimOutcome;
pub use self::metrics::MailboxMetrics;
use crate::{
    notifier::EmbeddedNotifier,
    state::{StateJournal, StateKind, StateMachine, UnreadableState},
};

/// Where the mailbox writes its state down. A trait of its own, so that the contract suite can run the mailbox against a
/// journal in memory.
pub(crate) trait Journal: fmt::Debug + Send + Sync {
    /// See [`StateJournal::append`].
    fn append(&self, record: &[u8]) -> Appending;
    /// See [`StateJournal::note`].
    fn note(&self, record: &[u8]);
}

impl Journal for StateJournal {
    fn append(&self, record: &[u8]) -> Appending {
        Self::append(self, record)
    }

    fn note(&self, record: &[u8]) {
        Self::note(self, record);
    }
}

/// The embedded [`Mailbox`].
pub struct EmbeddedMailbox {
    partitions: PartitionCount,
    states: Vec<Mutex<PartitionMailbox>>,
    clock: Arc<dyn Clock>,
    notifier: EmbeddedNotifier,
    metrics: MailboxMetrics,
    /// Set when the log is open and the state fits it; before that nothing is served.
    journal: OnceLock<Box<dyn Journal>>,
}

impl fmt::Debug for EmbeddedMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedMailbox")
            .field("partitions", &self.partitions)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl EmbeddedMailbox {
    /// A mailbox that is not in service yet: the log restores and replays its state first, then [`start`](Self::start).
    pub(crate) fn new(
        partitions: PartitionCount,
        limits: MailboxLimits,
        clock: Arc<dyn Clock>,
        notifier: EmbeddedNotifier,
        metrics: MailboxMetrics,
    ) -> Self {
        let states = partitions.all().map(|partition| Mutex::new(PartitionMailbox::new(partition, limits))).collect();
        Self { partitions, states, clock, notifier, metrics, journal: OnceLock::new() }
    }

    /// Puts the mailbox into service: fits its state to the results log (`ranges` by partition) and writes changes to
    /// `journal` from now on. Once; a second call does nothing.
    pub(crate) fn start(&self, journal: impl Journal + 'static, ranges: &[Range]) {
        if self.journal.get().is_some() {
            return;
        }
        for (partition, range) in self.partitions.all().zip(ranges) {
            if let Some(mut state) = self.state(partition) {
                state.open(*range);
            }
        }
        // Only a second call can find it set.
        drop(self.journal.set(Box::new(journal)));
        self.measure();
    }

    /// Forgets what the retention allows, see [`PartitionMailbox::sweep`]. Call it every minute or so.
    pub(crate) fn sweep(&self, logs: impl Fn(Partition) -> LogStarts) {
        for partition in self.partitions.all() {
            let forgotten = self.state(partition).map_or(0, |mut state| state.sweep(self.clock.now(), logs(partition)));
            self.metrics.forgotten.inc_by(forgotten as u64);
        }
        self.measure();
    }

    /// The session that held the client goes on, or is told that it cannot.
    fn take_back(&self, client: &ClientId, partition: Partition, undo: Undo) {
        let lost = self.state(partition).and_then(|mut state| state.undo(client, undo));
        if let Some((server, session)) = lost {
            self.notifier.send(&server, Notification::Superseded { client: client.clone(), session });
        }
    }

    fn measure(&self) {
        let (mut bytes, mut clients) = (0, 0);
        for state in &self.states {
            let state = lock(state);
            bytes += state.waiting_bytes();
            clients += state.clients();
        }
        self.metrics.waiting_bytes.set(bytes as i64);
        self.metrics.clients.set(clients as i64);
    }

    fn state(&self, partition: Partition) -> Option<MutexGuard<'_, PartitionMailbox>> {
        self.states.get(partition.0 as usize).map(lock)
    }

    /// The state of a partition, in service.
    fn serving(&self, partition: Partition) -> Result<(MutexGuard<'_, PartitionMailbox>, &dyn Journal), MailboxError> {
        let journal = self.journal.get().ok_or_else(|| MailboxError::Unavailable("it is still starting".to_owned()))?;
        let state = self
            .state(partition)
            .ok_or_else(|| MailboxError::Unavailable(format!("there is no partition {partition}")))?;
        Ok((state, &**journal))
    }
}

fn lock(state: &Mutex<PartitionMailbox>) -> MutexGuard<'_, PartitionMailbox> {
    // After a panic in the rules the state may be half changed; going on serves the others, and the log is the truth.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(error: MailboxError) -> ClaimError {
    match error {
        MailboxError::Unavailable(why) | MailboxError::Full(why) => ClaimError::Unavailable(why),
    }
}

#[async_trait]
impl Mailbox for EmbeddedMailbox {
    async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError> {
        let partition = self.partitions.partition_of(&claim.client);
        let token: [u8; TOKEN_BYTES] = rand::random();
        let decided = {
            let (mut state, journal) = self.serving(partition).map_err(unavailable)?;
            state.claim(&claim, token, self.clock.now()).map(|Granted { claimed, change, undo }| {
                // Under the lock: the journal has the claims of a client in the order in which they were made.
                (claimed, journal.append(&codec::encode_changes(&[(partition, change)])), undo)
            })
        };
        let granted = match decided {
            Ok((claimed, durable, undo)) => match durable.await {
                Ok(_) => Ok(claimed),
                Err(error) => {
                    self.take_back(&claim.client, partition, undo);
                    Err(ClaimError::Unavailable(error.to_string()))
                }
            },
            Err(error) => Err(error),
        };
        self.metrics.claim(match &granted {
            Ok(_) => ClaimOutcome::Granted,
            Err(ClaimError::Stale { .. }) => ClaimOutcome::Stale,
            Err(ClaimError::WrongToken) => ClaimOutcome::WrongToken,
            Err(ClaimError::Unavailable(_)) => ClaimOutcome::Unavailable,
        });
        granted
    }

    async fn release(&self, client: &ClientId, session: SessionId) -> Result<(), MailboxError> {
        // Not written down: after a restart nobody owns anything.
        let (mut state, _) = self.serving(self.partitions.partition_of(client))?;
        state.release(client, session, self.clock.now());
        Ok(())
    }

    async fn apply(&self, batch: &Batch<ResultRecord>) -> Result<Applied, MailboxError> {
        let (mut state, _) = self.serving(batch.partition)?;
        let folded = match state.apply(batch, self.clock.now()) {
            ApplyOutcome::Folded(folded) => folded,
            ApplyOutcome::Hole { applied } => {
                self.metrics.holes.inc();
                return Ok(Applied::Hole { applied });
            }
        };
        // Still under the lock: a server that compares its chain with `heads` never finds a notification that was
        // counted but not sent. The bus does not wait.
        for (server, notification) in folded.notifications {
            self.notifier.send(&server, notification);
        }
        drop(state);
        self.metrics.fresh.inc_by(folded.fresh as u64);
        self.metrics.duplicates.inc_by(folded.duplicates as u64);
        self.metrics.foreign.inc_by(folded.foreign as u64);
        Ok(Applied::Through { applied: folded.applied, fresh: folded.fresh, duplicates: folded.duplicates })
    }

    async fn applied(&self, partition: Partition) -> Result<Position, MailboxError> {
        Ok(self.serving(partition)?.0.applied())
    }

    /// It is opened with its log, and clamped to its end.
    async fn landmark(&self, _: Partition) -> Result<Option<Landmark>, MailboxError> {
        Ok(None)
    }

    async fn skip_to(&self, partition: Partition, start: Position) -> Result<(), MailboxError> {
        // Not written down: after a restart the log's start raises the floor again.
        let (mut state, _) = self.serving(partition)?;
        for server in state.skip_to(start) {
            self.notifier.send(&server, Notification::MayHaveMissed);
        }
        Ok(())
    }

    async fn read(
        &self,
        client: &ClientId,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Page, MailboxError> {
        let (state, _) = self.serving(self.partitions.partition_of(client))?;
        let page = state.read(client, from, max_records, max_bytes);
        if matches!(page, Page::BelowFloor { .. }) {
            self.metrics.below_floor.inc();
        }
        Ok(page)
    }

    async fn ack(&self, acks: &[MailboxAck]) -> Result<(), MailboxError> {
        let mut by_partition: BTreeMap<Partition, Vec<&MailboxAck>> = BTreeMap::new();
        for ack in acks {
            by_partition.entry(self.partitions.partition_of(&ack.client)).or_default().push(ack);
        }
        let now = self.clock.now();
        for (partition, acks) in by_partition {
            let (mut state, journal) = self.serving(partition)?;
            let changes: Vec<_> = acks.into_iter().filter_map(|ack| Some((partition, state.ack(ack, now)?))).collect();
            if !changes.is_empty() {
                // Lazily: these clients are at-least-once, a lost position only repeats what they had. Under the lock:
                // changes are written in the order of their versions.
                journal.note(&codec::encode_changes(&changes));
            }
        }
        Ok(())
    }

    async fn heads(&self, server: &ServerId, partitions: &[Partition]) -> Result<Vec<Head>, MailboxError> {
        partitions.iter().map(|partition| Ok(self.serving(*partition)?.0.head(server))).collect()
    }
}

impl StateMachine for EmbeddedMailbox {
    fn kind(&self) -> StateKind {
        StateKind::Mailbox
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), UnreadableState> {
        for (partition, snapshot) in codec::decode_snapshot(snapshot)? {
            self.restored(partition)?.restore(snapshot);
        }
        Ok(())
    }

    fn replay(&self, record: &[u8]) -> Result<(), UnreadableState> {
        for (partition, change) in codec::decode_changes(record)? {
            self.restored(partition)?.replay(change);
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = codec::SnapshotWriter::new(self.states.len());
        for (partition, state) in self.partitions.all().zip(&self.states) {
            // Copied under the lock, encoded outside.
            let snapshot = lock(state).snapshot();
            writer.partition(partition, &snapshot);
        }
        writer.finish()
    }

    fn erase(&self, client: &ClientId) {
        if let Some(mut state) = self.state(self.partitions.partition_of(client)) {
            state.erase(client);
        }
    }
}

impl EmbeddedMailbox {
    fn restored(&self, partition: Partition) -> Result<MutexGuard<'_, PartitionMailbox>, UnreadableState> {
        self.state(partition)
            .ok_or_else(|| UnreadableState(format!("mailbox state names partition {partition}, which does not exist")))
    }
}

#[cfg(test)]
mod tests;
