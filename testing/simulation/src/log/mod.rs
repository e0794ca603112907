//! A log that every incarnation shares and that outlives them all. What is in it is never lost; everything around it may be
//! late, fail, or be of unknown outcome.

mod consumer;
mod group;
mod producer;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_core::{
    GroupId, LogEpoch, Partition, PartitionCount, Position,
    ports::log::{Appender, Appending, Batch, Consumer, Log, LogError, LogRecord, Range},
};

pub(crate) use self::store::LogStore;
use self::{consumer::SimConsumer, producer::Producer};
use crate::life::Life;

/// What the books want to know of a record that became durable.
pub(crate) trait Booked: LogRecord {
    fn book(life: &Life, partition: Partition, stored: &nimbus_core::ports::log::Stored<Self>);
}

/// One incarnation's way to a log.
#[derive(Debug)]
pub(crate) struct SimLog<R: Booked> {
    life: Arc<Life>,
    store: Arc<LogStore<R>>,
    producer: Arc<Producer<R>>,
}

impl<R: Booked> SimLog<R> {
    pub(crate) fn new(life: &Arc<Life>, store: &Arc<LogStore<R>>) -> Arc<Self> {
        let producer = Producer::start(life, store);
        Arc::new(Self { life: Arc::clone(life), store: Arc::clone(store), producer })
    }

    async fn ask(&self, what: &str, partition: Partition) -> Result<(), LogError> {
        self.life.request(what, u64::from(partition.0)).await;
        if self.life.world.fails() { Err(LogError::Unavailable("simulated".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl<R: Booked> Log<R> for SimLog<R> {
    fn epoch(&self) -> LogEpoch {
        self.store.epoch
    }

    fn partitions(&self) -> PartitionCount {
        self.store.partitions()
    }

    async fn ready(&self) {
        self.producer.ready().await;
    }

    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        self.producer.append(partition, records, None)
    }

    fn appender(&self) -> Box<dyn Appender<R>> {
        self.producer.appender()
    }

    async fn consume(&self, group: &GroupId) -> Result<Box<dyn Consumer<R>>, LogError> {
        self.ask("join", Partition(0)).await?;
        let consumer = SimConsumer::join(&self.life, &self.store, group);
        self.life.answer().await;
        Ok(Box::new(consumer))
    }

    async fn range(&self, partition: Partition) -> Result<Range, LogError> {
        self.ask("range", partition).await?;
        let range = Range { start: Position::START, end: self.store.end(partition) };
        self.life.answer().await;
        Ok(range)
    }

    async fn read(&self, partition: Partition, from: Position, max_bytes: usize) -> Result<Batch<R>, LogError> {
        self.ask("read log", partition).await?;
        let records = self.life.world.batch_records();
        let batch = self.store.read(partition, from, records, max_bytes);
        self.life.answer().await;
        Ok(batch)
    }

    async fn committed(&self, partition: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
        self.ask("committed", partition).await?;
        Ok(self.store.committed(partition))
    }
}
