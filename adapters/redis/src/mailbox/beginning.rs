//! Where folding begins when Redis has no memory of a partition.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use nimbus_core::{
    Partition, Position,
    clock::UnixMillis,
    ports::log::{LogError, ResultLog},
};

use super::{Inner, PartitionHead};
use crate::{
    error::Failure,
    link::{Answer, decimal},
    timeline::Timeline,
};

/// Finds a place in the results log by time.
#[async_trait]
pub trait Beginning: Debug + Send + Sync {
    /// The position is such that about everything that was produced before `since` lies before it, and nothing that was produced
    /// after it. It becomes a floor, so a guess that is too early costs work and one that is too late reads of the log;
    /// neither loses anything.
    ///
    /// # Errors
    /// [`LogError`]; the caller tries again.
    async fn find(&self, partition: Partition, since: UnixMillis) -> Result<Found, LogError>;
}

/// Where a new memory of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub position: Position,
    /// The log has records: there was a memory of them once, and it was lost.
    pub has_records: bool,
}

/// Finds the place by reading single records, half as far apart each time.
#[derive(Debug, Clone)]
pub struct LogBeginning(Arc<ResultLog>);

impl LogBeginning {
    /// Reads this log.
    pub fn new(results: Arc<ResultLog>) -> Self {
        Self(results)
    }
}

#[async_trait]
impl Beginning for LogBeginning {
    async fn find(&self, partition: Partition, since: UnixMillis) -> Result<Found, LogError> {
        let range = self.0.range(partition).await?;
        // Everything before `low` is older than `since`; nothing at or after `high` is.
        let (mut low, mut high) = (range.start.0, range.end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let batch = match self.0.read(partition, Position(middle), 1).await {
                Ok(batch) => batch,
                // Retention goes on meanwhile.
                Err(LogError::Expired { start, .. }) => {
                    low = start.0.max(middle + 1);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match batch.records.first() {
                Some(stored) if stored.offset.0 < high && stored.record.produced < since => {
                    low = stored.offset.0 + 1;
                }
                _ => high = middle,
            }
        }
        Ok(Found { position: Position(low.min(range.end.0)), has_records: range.start < range.end })
    }
}

impl Inner {
    /// How far a partition is; where it begins, if Redis has no memory of it (rule 16).
    pub(super) async fn head(&self, partition: Partition) -> Result<PartitionHead, Failure> {
        match self.remembered(partition).await? {
            Some(head) => Ok(head),
            None => self.begin(partition).await,
        }
    }

    /// How far a partition is, if Redis has a memory of it. Changes nothing.
    pub(super) async fn remembered(&self, partition: Partition) -> Result<Option<PartitionHead>, Failure> {
        self.check(partition)?;
        let keys = self.keys.partition(partition);
        let all = vec![keys.head(), keys.seen(), keys.claim()];
        let mut answer = self.link.call(&self.link.quick, &self.link.scripts.load, all, Vec::new()).await?.list()?;
        read_head(answer.item()?)
    }

    /// Gives a partition a place to begin: at the start of the mailbox' window, with the floor there. Whoever comes second
    /// finds what the first one wrote.
    pub(super) async fn begin(&self, partition: Partition) -> Result<PartitionHead, Failure> {
        self.epoch.insist(&self.link).await?;
        let now = self.clock.now();
        let since = UnixMillis(now.0.saturating_sub(u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX)));
        let found = self.beginning.find(partition, since).await;
        let found = found.map_err(|error| Failure::Unavailable(format!("where to begin is not known: {error}")))?;
        let start = found.position;
        let born = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
        let refilled = Bytes::from_static(if found.has_records { b"1" } else { b"" });
        let arguments = vec![decimal(start.0), born.clone(), Timeline::default().encode(), refilled];
        let keys = vec![self.keys.partition(partition).head()];
        let answer = self.link.call(&self.link.quick, &self.link.scripts.begin, keys, arguments).await?;
        let head =
            read_head(answer)?.ok_or_else(|| Failure::Unavailable("redis forgets what it was just told".to_owned()))?;
        if head.born == born {
            tracing::warn!(%partition, from = %start, "redis knows nothing of this partition, its mailboxes are filled from here");
        }
        Ok(head)
    }
}

/// `applied`, `born`, `floor`, `marks`; `None` when there is no memory.
pub(super) fn read_head(answer: Answer) -> Result<Option<PartitionHead>, Failure> {
    let mut fields = answer.list()?;
    let applied = fields.item()?.number_if_any()?;
    let born = fields.item()?.bytes();
    let floor = fields.item()?.number_if_any()?;
    let marks = fields.item()?.bytes();
    let (Some(applied), Some(born), Some(floor)) = (applied, born, floor) else { return Ok(None) };
    let timeline = marks.map(|marks| Timeline::decode(&marks)).transpose()?.unwrap_or_default();
    Ok(Some(PartitionHead { applied: Position(applied), born, floor: Position(floor), timeline }))
}

#[cfg(test)]
mod tests;
