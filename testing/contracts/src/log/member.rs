//! A well-behaved member of a consumer group, which checks what it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::FutureExt;
use nimbus_core::{
    Partition, Position,
    ports::log::{Committed, Consumer, ConsumerEvent, Fate, Log, LogError},
};

use super::check;
use crate::{
    Sample,
    support::{group, within},
};

pub(super) struct Member<R> {
    pub(super) consumer: Box<dyn Consumer<R>>,
    /// Partitions that were assigned and not released, with what the predecessor committed.
    pub(super) owned: BTreeMap<Partition, Committed>,
    /// Of these, the ones to give up.
    pub(super) revoked: BTreeSet<Partition>,
    /// Records so far, over all assignments.
    pub(super) got: BTreeMap<Partition, Vec<R>>,
    pub(super) batches: BTreeMap<Partition, usize>,
    /// What becomes of records that came before they were durable.
    pub(super) fates: Vec<Fate>,
    /// Where the next batch must begin.
    at: BTreeMap<Partition, Position>,
}

impl<R: Sample> Member<R> {
    pub(super) async fn join(log: &Arc<dyn Log<R>>, name: &str) -> Self {
        let consumer = within("joining a group", log.consume(&group(name))).await.expect("consume");
        Self {
            consumer,
            owned: BTreeMap::new(),
            revoked: BTreeSet::new(),
            got: BTreeMap::new(),
            batches: BTreeMap::new(),
            fates: Vec::new(),
            at: BTreeMap::new(),
        }
    }

    /// Joins, and waits until every partition is its own.
    pub(super) async fn alone(log: &Arc<dyn Log<R>>, name: &str) -> Self {
        let mut member = Self::join(log, name).await;
        while member.owned.len() < log.partitions().len() {
            member.step().await;
        }
        member
    }

    /// Takes one event.
    pub(super) async fn step(&mut self) {
        let event = within("an event of the group", self.consumer.next()).await;
        self.take(event);
    }

    /// Takes one event if there is one already.
    pub(super) fn step_now(&mut self) {
        if let Some(event) = self.consumer.next().now_or_never() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Result<ConsumerEvent<R>, LogError>) {
        match event.expect("next") {
            ConsumerEvent::Assigned { partition, committed } => {
                self.at.insert(partition, committed.position);
                let twice = self.owned.insert(partition, committed);
                assert_eq!(twice, None, "partition {partition} was assigned twice");
            }
            ConsumerEvent::Revoked { partition } => {
                assert!(self.owned.contains_key(&partition), "partition {partition} was not owned");
                self.revoked.insert(partition);
            }
            ConsumerEvent::Records(batch) => {
                let partition = batch.partition;
                assert!(self.owned.contains_key(&partition), "records of partition {partition}, which is not owned");
                check(&batch, partition, self.at[&partition]);
                self.at.insert(partition, batch.next);
                self.fates.extend(batch.provisional.clone());
                *self.batches.entry(partition).or_default() += 1;
                let records = batch.records.iter().map(|stored| stored.record.clone());
                self.got.entry(partition).or_default().extend(records);
            }
        }
    }

    /// Waits until this many records of a partition have come.
    pub(super) async fn until(&mut self, partition: Partition, count: usize) {
        while self.got.get(&partition).map_or(0, Vec::len) < count {
            self.step().await;
        }
    }

    pub(super) fn commit(&mut self, partition: Partition, committed: Committed) {
        self.consumer.commit(partition, committed);
    }

    pub(super) async fn flush(&mut self) {
        within("a flush of commits", self.consumer.flush()).await.expect("flush");
    }

    pub(super) fn seek(&mut self, partition: Partition, position: Position) {
        self.consumer.seek(partition, position);
        self.at.insert(partition, position);
    }

    pub(super) fn release(&mut self, partition: Partition) {
        self.consumer.release(partition);
        self.revoked.remove(&partition);
        self.owned.remove(&partition);
    }

    pub(super) fn release_revoked(&mut self) {
        for partition in std::mem::take(&mut self.revoked) {
            self.release(partition);
        }
    }

    /// Past everything that came of a partition.
    pub(super) fn position(&self, partition: Partition) -> Position {
        self.at[&partition]
    }

    pub(super) fn owned(&self) -> BTreeSet<Partition> {
        self.owned.keys().copied().collect()
    }
}
