//! The mailbox over Redis: the rules of `nimbus_core::mailbox`, applied to what is read, written if nothing changed.
//!
//! Redis is an index over the results log, which is the truth. What is lost with it is said by a floor, and read from the
//! log. So every step is read, decide, compare and set; a step that lost a race is decided again, and one whose outcome is
//! unknown can be repeated. In the worst case (Redis is gone) nothing is delivered live and nobody can connect, until it is
//! back; nothing that was accepted is lost.

mod again;
mod apply;
mod beginning;
mod cache;
mod claim;
mod fold;
mod heads;
mod inspect;
mod mend;
mod metrics;
mod read;
mod sweep;
mod taken;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use nimbus_core::{
    ClientId, Partition, PartitionCount, Position, ResultRecord, ServerId, SessionId,
    clock::Clock,
    mailbox::{Held, MailboxLimits},
    ports::{
        log::Batch,
        mailbox::{Applied, Claim, ClaimError, Claimed, Head, Landmark, Mailbox, MailboxAck, MailboxError, Page},
    },
};
use tokio::sync::Mutex;

use self::{again::Unsure, cache::Route, heads::Memories, metrics::ClaimOutcome, sweep::Sweeps, taken::Taken};
pub use self::{
    beginning::{Beginning, Found, LogBeginning},
    inspect::ClientView,
    metrics::MailboxMetrics,
};
use crate::{
    epoch::EpochKey,
    error::Failure,
    keys::{Keys, PartitionKeys},
    link::Link,
    notifier::RedisNotifier,
    timeline::Timeline,
};

/// The Redis [`Mailbox`]. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct RedisMailbox(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) link: Arc<Link>,
    pub(crate) epoch: EpochKey,
    pub(crate) keys: Keys,
    pub(crate) partitions: PartitionCount,
    pub(crate) limits: MailboxLimits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beginning: Arc<dyn Beginning>,
    pub(crate) notifier: RedisNotifier,
    pub(crate) bus: crate::notifier::Bus,
    pub(crate) metrics: MailboxMetrics,
    routes: Vec<Mutex<Route>>,
    held: std::sync::Mutex<Held>,
    unsure: Unsure,
    memories: Memories,
    taken: Taken,
    sweeps: Sweeps,
}

/// What a mailbox is made of.
pub(crate) struct Parts {
    pub(crate) link: Arc<Link>,
    pub(crate) epoch: EpochKey,
    pub(crate) keys: Keys,
    pub(crate) partitions: PartitionCount,
    pub(crate) limits: MailboxLimits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beginning: Arc<dyn Beginning>,
    pub(crate) notifier: RedisNotifier,
    pub(crate) bus: crate::notifier::Bus,
    pub(crate) metrics: MailboxMetrics,
    pub(crate) cached_clients: usize,
}

impl fmt::Debug for RedisMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisMailbox").field("partitions", &self.0.partitions).finish_non_exhaustive()
    }
}

/// What one memory of a partition says of itself.
#[derive(Debug, Clone)]
struct PartitionHead {
    applied: Position,
    /// Names this memory; another one after Redis was emptied.
    born: Bytes,
    floor: Position,
    timeline: Timeline,
}

/// How often a step is decided anew before the caller is told to come again.
const ATTEMPTS: usize = 32;

impl RedisMailbox {
    pub(crate) fn new(parts: Parts) -> Self {
        let routes = parts.partitions.all().map(|_| Mutex::new(Route::new(parts.cached_clients))).collect();
        Self(Arc::new(Inner {
            link: parts.link,
            epoch: parts.epoch,
            keys: parts.keys,
            partitions: parts.partitions,
            limits: parts.limits,
            clock: parts.clock,
            beginning: parts.beginning,
            notifier: parts.notifier,
            bus: parts.bus,
            metrics: parts.metrics,
            routes,
            held: std::sync::Mutex::default(),
            unsure: Unsure::default(),
            memories: Memories::default(),
            taken: Taken::default(),
            sweeps: Sweeps::default(),
        }))
    }

    /// Whether this process still works with the log epoch that all others find. It does not when Redis was emptied and
    /// another process put its own epoch first, or when somebody replaced it: then this process has to begin anew. Until
    /// then `heads`, and every step that needs a memory of a partition that is not there, fails.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable).
    pub async fn epoch_is_current(&self) -> Result<bool, MailboxError> {
        Ok(self.0.epoch.hold(&self.0.link).await?)
    }

    /// What is known of a client, for its operator.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable).
    pub async fn inspect(&self, client: &ClientId) -> Result<ClientView, MailboxError> {
        Ok(self.0.inspect(client).await?)
    }

    /// Forgets a bounded share of what no log can bring back: clients that have been idle for longer than the retention,
    /// records past their window, servers that are gone. Call it every minute or so, from one process or from several.
    /// `logs`: where the logs of a partition begin. Returns how many clients were forgotten.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable; what was not done is done next time).
    pub async fn sweep(
        &self,
        logs: impl Fn(Partition) -> nimbus_core::mailbox::LogStarts + Send,
    ) -> Result<usize, MailboxError> {
        Ok(self.0.sweep(logs).await?)
    }
}

impl Inner {
    fn partition_keys(&self, client: &ClientId) -> (Partition, PartitionKeys) {
        let partition = self.partitions.partition_of(client);
        (partition, self.keys.partition(partition))
    }

    fn check(&self, partition: Partition) -> Result<(), Failure> {
        let exists = (partition.0 as usize) < self.partitions.len();
        exists.then_some(()).ok_or_else(|| Failure::Unavailable(format!("there is no partition {partition}")))
    }
}

#[async_trait]
impl Mailbox for RedisMailbox {
    async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError> {
        let claimed = self.0.claim(claim).await;
        self.0.metrics.claim(match &claimed {
            Ok(_) => ClaimOutcome::Granted,
            Err(ClaimError::Stale { .. }) => ClaimOutcome::Stale,
            Err(ClaimError::WrongToken) => ClaimOutcome::WrongToken,
            Err(ClaimError::Unavailable(_)) => ClaimOutcome::Unavailable,
        });
        claimed
    }

    async fn release(&self, client: &ClientId, session: SessionId) -> Result<(), MailboxError> {
        Ok(self.0.release(client, session).await.map(drop)?)
    }

    /// A batch is written in pieces of bounded size, each of them all or nothing.
    async fn apply(&self, batch: &Batch<ResultRecord>) -> Result<Applied, MailboxError> {
        Ok(self.0.apply(batch).await?)
    }

    async fn applied(&self, partition: Partition) -> Result<Position, MailboxError> {
        Ok(self.0.head(partition).await?.applied)
    }

    async fn landmark(&self, partition: Partition) -> Result<Option<Landmark>, MailboxError> {
        Ok(self.0.landmark(partition).await?)
    }

    async fn skip_to(&self, partition: Partition, start: Position) -> Result<(), MailboxError> {
        Ok(self.0.skip_to(partition, start).await?)
    }

    async fn read(
        &self,
        client: &ClientId,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Page, MailboxError> {
        Ok(self.0.read(client, from, max_records, max_bytes).await?)
    }

    async fn ack(&self, acks: &[MailboxAck]) -> Result<(), MailboxError> {
        Ok(self.0.ack(acks).await?)
    }

    async fn heads(&self, server: &ServerId, partitions: &[Partition]) -> Result<Vec<Head>, MailboxError> {
        Ok(self.0.heads(server, partitions).await?)
    }
}
