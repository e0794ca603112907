//! One member of a consumer group.
//!
//! A member is two clients of the broker and two threads. One client takes part in the group and commits; it reads nothing.
//! The other reads what the member owns, each partition from its own queue, and knows nothing of the group: so a seek
//! during a rebalance is no special case, and a partition that is about to leave holds up no other. One thread serves
//! both, and fills the *desk*, which is all that the consumer's user touches; the other one commits.
//!
//! Bounds: one batch read ahead for each partition, two events of the group, one commit; librdkafka prefetches 1 to 2 MiB
//! for each partition.

mod bell;
mod commits;
mod committer;
mod desk;
mod fetcher;
mod membership;
mod seat;
mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use nimbus_core::{
    GroupId, Partition, Position,
    ports::log::{Committed, Consumer, ConsumerEvent, LogError},
};

use self::{desk::Desk, worker::Worker};
use crate::{kafka::Running, topic::TopicRecord};

/// One member of a consumer group.
pub(crate) struct GroupConsumer<R: TopicRecord> {
    /// It stays open while anyone consumes it.
    running: Arc<Running>,
    desk: Arc<Desk<R>>,
}

impl<R: TopicRecord> std::fmt::Debug for GroupConsumer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConsumer").field("topic", &R::TOPIC).finish_non_exhaustive()
    }
}

impl<R: TopicRecord> GroupConsumer<R> {
    /// Begins to take part in a group. Blocks for as long as it takes to start threads.
    pub(crate) fn join(running: Arc<Running>, group: &GroupId) -> Result<Self, LogError> {
        let shared = &running.shared;
        shared.groups.add(R::TOPIC, group);
        let (bell, rings) = bell::bell();
        let desk = Arc::new(Desk::new(shared.config.partitions.len(), bell.clone(), R::TOPIC, shared.metrics.clone()));
        let worker = Worker::join(Arc::clone(shared), group, Arc::clone(&desk), bell, rings)?;
        let thread = std::thread::Builder::new().name("kafka-member".to_owned()).spawn(move || worker.run());
        shared.add_thread(thread.map_err(|error| LogError::Unavailable(error.to_string()))?);
        Ok(Self { running, desk })
    }
}

#[async_trait]
impl<R: TopicRecord> Consumer<R> for GroupConsumer<R> {
    fn joined(&self) -> BoxFuture<'static, ()> {
        let mut joined = self.desk.joined();
        Box::pin(async move {
            // A member that is gone before it was taken in never is.
            if joined.wait_for(|joined| *joined).await.is_err() {
                std::future::pending().await
            }
        })
    }

    async fn next(&mut self) -> Result<ConsumerEvent<R>, LogError> {
        loop {
            let news = self.desk.news();
            tokio::pin!(news);
            // Registered before looking: what is put down in between is not missed.
            news.as_mut().enable();
            self.running.shared.open()?;
            if let Some(event) = self.desk.take() {
                return event;
            }
            news.await;
        }
    }

    fn pause(&mut self, partition: Partition) {
        self.desk.pause(partition);
    }

    fn resume(&mut self, partition: Partition) {
        self.desk.resume(partition);
    }

    fn seek(&mut self, partition: Partition, position: Position) {
        self.desk.seek(partition, position);
    }

    fn commit(&mut self, partition: Partition, committed: Committed) {
        self.desk.commit(partition, committed);
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        let asked = self.desk.commits_so_far();
        loop {
            let news = self.desk.commit_news();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(outcome) = self.desk.flushed(asked) {
                return outcome;
            }
            self.running.shared.open()?;
            news.await;
        }
    }

    fn release(&mut self, partition: Partition) {
        self.desk.release(partition);
    }
}

impl<R: TopicRecord> Drop for GroupConsumer<R> {
    fn drop(&mut self) {
        self.desk.leave();
    }
}
