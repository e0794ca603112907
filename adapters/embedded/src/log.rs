//! The [`Log`] port over one topic of the embedded log.

use std::{fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use nimbus_core::{
    GroupId, LogEpoch, Partition, PartitionCount, Position,
    ports::log::{Appender, Appending, Batch, Consumer, Log, LogError, Range},
};

use crate::{
    consumer::GroupConsumer,
    item::{Fence, Standing, Terms},
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
    terms: Terms,
}

impl<R: Shelved> TopicAppender<R> {
    fn new(log: &TopicLog<R>, standing: Option<Standing>) -> Box<Self> {
        let log = TopicLog::new(Arc::clone(&log.shared), Arc::clone(&log._running));
        Box::new(Self { log, terms: Terms { fence: Some(Fence::default()), standing } })
    }
}

impl<R: Shelved> fmt::Debug for TopicAppender<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicAppender").field("log", &self.log).field("terms", &self.terms).finish()
    }
}

impl<R: Shelved> Appender<R> for TopicAppender<R> {
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        match self.log.check_append(partition, &records) {
            Ok(()) => self.log.shared.queue.append(&self.log.shared.shelves, partition, records, self.terms.clone()),
            Err(error) => {
                self.terms.end();
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
            Ok(()) => self.shared.queue.append(&self.shared.shelves, partition, records, Terms::default()),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn appender(&self) -> Box<dyn Appender<R>> {
        TopicAppender::new(self, None)
    }

    fn appender_of_answers(&self) -> Box<dyn Appender<R>> {
        TopicAppender::new(self, Some(self.shared.queue.standing()))
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
