//! The [`Log`] port over one topic of the embedded log.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use nimbus_core::{
    GroupId, LogEpoch, Partition, PartitionCount, Position,
    ports::log::{Appender, Appending, Batch, Consumer, Log, LogError, Range},
};

use crate::{
    consumer::GroupConsumer,
    item::Fence,
    reader,
    running::Running,
    shared::{Shared, Shelved},
};

/// One append may have this many bytes: far above what limits on payloads and batches allow.
const MAX_APPEND_BYTES: usize = 256 << 20;

/// One topic.
pub(crate) struct TopicLog<R> {
    shared: Arc<Shared>,
    /// The log stays open while anyone holds one of its topics.
    _running: Arc<Running>,
    records: PhantomData<fn() -> R>,
}

impl<R: Shelved> TopicLog<R> {
    pub(crate) fn new(shared: Arc<Shared>, running: Arc<Running>) -> Self {
        Self { shared, _running: running, records: PhantomData }
    }

    fn check(&self, partition: Partition) -> Result<(), LogError> {
        self.shared.open()?;
        if partition.0 < self.shared.meta.partitions.0.get() {
            Ok(())
        } else {
            Err(LogError::Unavailable(format!("there is no partition {partition}")))
        }
    }

    fn check_append(&self, partition: Partition, records: &[R]) -> Result<(), LogError> {
        self.check(partition)?;
        let bytes: usize = records.iter().map(R::weight).sum();
        if bytes > MAX_APPEND_BYTES {
            return Err(LogError::Full(format!("one append has {bytes} bytes, {MAX_APPEND_BYTES} are possible")));
        }
        Ok(())
    }
}

/// One caller's way into a topic.
struct TopicAppender<R> {
    log: TopicLog<R>,
    fence: Fence,
}

impl<R: Shelved> fmt::Debug for TopicAppender<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicAppender").field("log", &self.log).field("fence", &self.fence).finish()
    }
}

impl<R: Shelved> Appender<R> for TopicAppender<R> {
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        match self.log.check_append(partition, &records) {
            Ok(()) => self.log.shared.queue.append(partition, records, Some(&self.fence)),
            Err(error) => {
                self.fence.store(true, Ordering::Relaxed);
                Box::pin(async { Err(error) })
            }
        }
    }
}

impl<R: Shelved> fmt::Debug for TopicLog<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicLog").field("topic", &R::TOPIC).finish_non_exhaustive()
    }
}

#[async_trait]
impl<R: Shelved> Log<R> for TopicLog<R> {
    fn epoch(&self) -> LogEpoch {
        self.shared.meta.epoch
    }

    fn partitions(&self) -> PartitionCount {
        self.shared.meta.partitions
    }

    async fn ready(&self) {
        self.shared.queue.ready().await;
    }

    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        match self.check_append(partition, &records) {
            Ok(()) => self.shared.queue.append(partition, records, None),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn appender(&self) -> Box<dyn Appender<R>> {
        let log = Self::new(Arc::clone(&self.shared), Arc::clone(&self._running));
        Box::new(TopicAppender { log, fence: Fence::default() })
    }

    async fn consume(&self, group: &GroupId) -> Result<Box<dyn Consumer<R>>, LogError> {
        self.shared.open()?;
        Ok(Box::new(GroupConsumer::<R>::join(Arc::clone(&self.shared), Arc::clone(&self._running), group)))
    }

    async fn range(&self, partition: Partition) -> Result<Range, LogError> {
        self.check(partition)?;
        Ok(R::shelves(&self.shared.shelves)[partition.0 as usize].range())
    }

    async fn read(&self, partition: Partition, from: Position, max_bytes: usize) -> Result<Batch<R>, LogError> {
        self.check(partition)?;
        reader::read(&self.shared, partition, from, max_bytes).await
    }

    async fn committed(&self, partition: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
        self.check(partition)?;
        Ok(self.shared.groups.committed(R::TOPIC, partition))
    }
}
