//! The [`Log`] port over one topic.

use std::{fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use nimbus_core::{
    GroupId, LogEpoch, Partition, PartitionCount, Position,
    ports::log::{Appender, Appending, Batch, Consumer, Log, LogError, Range, TooLarge},
};

use crate::{
    append::refused,
    appender::TopicAppender,
    blocking::blocking,
    group::GroupConsumer,
    kafka::Running,
    parcel::{Parcel, size_of},
    producer::Producer,
    range,
    topic::{Topic, TopicRecord},
};

/// One topic.
pub(crate) struct TopicLog<R> {
    /// It stays open while anyone holds one of its topics.
    running: Arc<Running>,
    records: PhantomData<fn() -> R>,
}

impl<R> Clone for TopicLog<R> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running), records: PhantomData }
    }
}

impl<R: TopicRecord> TopicLog<R> {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        Self { running, records: PhantomData }
    }

    pub(crate) fn producer(&self) -> &Producer {
        &self.running.shared.producer
    }

    fn check(&self, partition: Partition) -> Result<(), LogError> {
        self.running.shared.open()?;
        if partition.0 < self.partitions().0.get() {
            Ok(())
        } else {
            Err(LogError::Unavailable(format!("there is no partition {partition}")))
        }
    }

    /// Records on their way out, if they can be stored at all.
    pub(crate) fn parcel(&self, partition: Partition, records: &[R]) -> Result<Parcel, LogError> {
        debug_assert!(!records.is_empty(), "an append has at least one record");
        self.check(partition)
            .and_then(|()| match R::TOPIC {
                Topic::Events => self.running.shared.gate.check(),
                Topic::Results | Topic::DeadLetters => Ok(()),
            })
            .and_then(|()| {
                let parcel = Parcel::new(partition, records);
                self.producer().check(&parcel)?;
                Ok(parcel)
            })
            .inspect_err(|error| self.running.shared.metrics.append_failed(error))
    }
}

impl<R: TopicRecord> fmt::Debug for TopicLog<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicLog").field("topic", &R::TOPIC).finish_non_exhaustive()
    }
}

#[async_trait]
impl<R: TopicRecord> Log<R> for TopicLog<R> {
    fn epoch(&self) -> LogEpoch {
        self.running.shared.epoch
    }

    fn partitions(&self) -> PartitionCount {
        self.running.shared.config.partitions
    }

    fn fits(&self, record: &R) -> Result<(), TooLarge> {
        self.producer().sizes().check(R::TOPIC, size_of(record))
    }

    async fn ready(&self) {
        self.producer().ready().await;
    }

    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        match self.parcel(partition, &records) {
            Ok(parcel) => self.producer().append(&parcel),
            Err(error) => refused(error),
        }
    }

    fn appender(&self) -> Box<dyn Appender<R>> {
        Box::new(TopicAppender::new(self.clone(), &self.running.shared.producer))
    }

    async fn consume(&self, group: &GroupId) -> Result<Box<dyn Consumer<R>>, LogError> {
        self.running.shared.open()?;
        let (running, name) = (Arc::clone(&self.running), group.clone());
        let joined = blocking(&self.running.shared.questions, move || GroupConsumer::<R>::join(running, &name));
        Ok(Box::new(joined.await?))
    }

    async fn range(&self, partition: Partition) -> Result<Range, LogError> {
        self.check(partition)?;
        let shared = &self.running.shared;
        let question = async || {
            let asked = Arc::clone(shared);
            let ask = move || range::range(&asked.client, &asked.name(R::TOPIC), partition);
            blocking(&shared.questions, ask).await
        };
        shared.range(R::TOPIC, partition).ask(question).await
    }

    async fn read(&self, partition: Partition, from: Position, max_bytes: usize) -> Result<Batch<R>, LogError> {
        self.check(partition)?;
        let shared = &self.running.shared;
        shared.readers.read(shared.name(R::TOPIC), partition, from, max_bytes).await
    }

    async fn committed(&self, partition: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
        self.check(partition)?;
        let shared = Arc::clone(&self.running.shared);
        let ask = move || shared.groups.committed(&shared.config, &shared.metrics, R::TOPIC, partition);
        blocking(&self.running.shared.questions, ask).await
    }
}
