//! One member of a consumer group.

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_core::{
    GroupId, Partition, Position,
    ports::log::{Committed, Consumer, ConsumerEvent, LogError},
};

use crate::{
    groups::GroupKey,
    members::{Control, Member, Work},
    reader,
    running::Running,
    shared::{Shared, Shelved},
    shelf::Shelf,
};

/// What one read from disk brings at most.
const READ_BYTES: usize = 256 << 10;

/// Where a partition is read.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    position: Position,
    paused: bool,
    /// To be released: no more records.
    revoked: bool,
}

/// One member of a consumer group.
#[derive(Debug)]
pub(crate) struct GroupConsumer<R: Shelved> {
    shared: Arc<Shared>,
    /// The log stays open while anyone consumes it.
    _running: Arc<Running>,
    key: GroupKey,
    member: Arc<Member>,
    /// By partition; `None`: not owned.
    cursors: Vec<Option<Cursor>>,
    /// Records are wanted while they are being written.
    early: bool,
    records: std::marker::PhantomData<fn() -> R>,
}

impl<R: Shelved> GroupConsumer<R> {
    pub(crate) fn join(shared: Arc<Shared>, running: Arc<Running>, group: &GroupId) -> Self {
        let key = (R::TOPIC, group.clone());
        let starts = || R::shelves(&shared.shelves).iter().map(|shelf| shelf.range().start).collect();
        let member = shared.groups.join(&key, starts);
        let cursors = vec![None; shared.meta.partitions.len()];
        Self { shared, _running: running, key, member, cursors, early: false, records: std::marker::PhantomData }
    }

    fn shelf(&self, partition: Partition) -> &Shelf<R> {
        &R::shelves(&self.shared.shelves)[partition.0 as usize]
    }

    fn cursor(&mut self, partition: Partition) -> Option<&mut Cursor> {
        self.cursors.get_mut(partition.0 as usize)?.as_mut()
    }

    fn obey(&mut self, control: Control) -> ConsumerEvent<R> {
        match control {
            Control::Assigned { partition, committed } => {
                let cursor = Cursor { position: committed.position, paused: false, revoked: false };
                self.cursors[partition.0 as usize] = Some(cursor);
                self.shelf(partition).watch(&self.member, committed.position, self.early);
                ConsumerEvent::Assigned { partition, committed }
            }
            Control::Revoked { partition } => {
                if let Some(cursor) = self.cursor(partition) {
                    cursor.revoked = true;
                }
                ConsumerEvent::Revoked { partition }
            }
        }
    }

    /// There is nothing to read now; what comes in between is not missed.
    fn rest(&mut self, partition: Partition) {
        self.member.clear(partition);
        if let Some(cursor) = self.cursors[partition.0 as usize]
            && !cursor.paused
            && !cursor.revoked
        {
            self.shelf(partition).watch(&self.member, cursor.position, self.early);
        }
    }
}

#[async_trait]
impl<R: Shelved> Consumer<R> for GroupConsumer<R> {
    async fn next(&mut self) -> Result<ConsumerEvent<R>, LogError> {
        loop {
            self.shared.open()?;
            let partition = match self.member.next() {
                Work::Control(control) => return Ok(self.obey(control)),
                Work::Records(partition) => partition,
                Work::Nothing => {
                    self.member.woken().await;
                    continue;
                }
            };
            let readable = self.cursor(partition).filter(|cursor| !cursor.paused && !cursor.revoked);
            let Some(from) = readable.map(|cursor| cursor.position) else {
                self.rest(partition);
                continue;
            };
            let mut batch = reader::read::<R>(&self.shared, partition, from, READ_BYTES).await?;
            if batch.next == from {
                match self.shelf(partition).early(from) {
                    Some(early) if self.early => batch = early,
                    _ => {
                        self.rest(partition);
                        continue;
                    }
                }
            }
            if let Some(cursor) = self.cursor(partition) {
                cursor.position = batch.next;
            }
            self.member.rotate(partition);
            return Ok(ConsumerEvent::Records(batch));
        }
    }

    fn show_early(&mut self) {
        self.early = true;
    }

    fn pause(&mut self, partition: Partition) {
        if let Some(cursor) = self.cursor(partition) {
            cursor.paused = true;
        }
    }

    fn resume(&mut self, partition: Partition) {
        if let Some(cursor) = self.cursor(partition) {
            cursor.paused = false;
            self.rest(partition);
        }
    }

    fn seek(&mut self, partition: Partition, position: Position) {
        if let Some(cursor) = self.cursor(partition) {
            cursor.position = position;
            self.rest(partition);
        }
    }

    fn commit(&mut self, partition: Partition, committed: Committed) {
        let durable = self.shelf(partition).range().end;
        if self.cursor(partition).is_some() && committed.position <= durable {
            self.shared.groups.commit(&self.key, &self.member, partition, committed);
        }
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        self.shared.groups.flush().await
    }

    fn release(&mut self, partition: Partition) {
        if self.cursor(partition).is_some() {
            self.cursors[partition.0 as usize] = None;
            self.member.clear(partition);
            self.shelf(partition).unwatch(&self.member);
            self.shared.groups.release(&self.key, &self.member, partition);
        }
    }
}

impl<R: Shelved> Drop for GroupConsumer<R> {
    fn drop(&mut self) {
        for shelf in R::shelves(&self.shared.shelves) {
            shelf.unwatch(&self.member);
        }
        self.shared.groups.leave(&self.key, &self.member);
    }
}
