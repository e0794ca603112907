//! What a log holds: records by partition, and the groups that read it.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

use nimbus_core::{
    GroupId, LogEpoch, Offset, Partition, PartitionCount, Position, chance,
    ports::log::{Batch, LogRecord, Stored},
};
use tokio::sync::Notify;
use ulid::Ulid;

use super::{Booked, group::Group};
use crate::{life::Life, lock};

#[derive(Debug)]
pub(crate) struct LogStore<R> {
    pub(super) inner: Mutex<Inner<R>>,
    /// Something was appended, or a group changed.
    pub(super) changed: Notify,
    count: u32,
    pub(super) epoch: LogEpoch,
}

#[derive(Debug)]
pub(super) struct Inner<R> {
    partitions: Vec<Records<R>>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) members: u64,
}

#[derive(Debug)]
struct Records<R> {
    next: u64,
    records: Vec<Stored<R>>,
}

impl<R> Records<R> {
    fn end(&self) -> Position {
        self.records.last().map_or(Position::START, |last| last.offset.position_after())
    }
}

impl<R: LogRecord> LogStore<R> {
    pub(crate) fn new(count: u32) -> Arc<Self> {
        let partitions = (0..count).map(|_| Records { next: 0, records: Vec::new() }).collect();
        let epoch = LogEpoch(Ulid(chance::number().into()));
        let inner = Inner { partitions, groups: BTreeMap::new(), members: 0 };
        Arc::new(Self { inner: Mutex::new(inner), changed: Notify::new(), count, epoch })
    }

    pub(crate) fn partitions(&self) -> PartitionCount {
        PartitionCount(NonZeroU32::new(self.count).unwrap_or(NonZeroU32::MIN))
    }

    /// Makes records durable. Offsets are not dense.
    pub(super) fn land(&self, life: &Life, partition: Partition, records: Vec<R>) -> Position
    where
        R: Booked,
    {
        let (fresh, end) = {
            let mut inner = lock(&self.inner);
            let log = &mut inner.partitions[partition.0 as usize];
            let first = log.records.len();
            for record in records {
                let offset = Offset(log.next);
                log.next += 1 + log.next % 3;
                log.records.push(Stored { offset, record });
            }
            (log.records[first..].to_vec(), log.end())
        };
        for stored in &fresh {
            R::book(life, partition, stored);
        }
        self.changed.notify_waiters();
        end
    }

    pub(crate) fn end(&self, partition: Partition) -> Position {
        lock(&self.inner).partitions[partition.0 as usize].end()
    }

    pub(crate) fn read(&self, partition: Partition, from: Position, most: usize, max_bytes: usize) -> Batch<R> {
        lock(&self.inner).read(partition, from, most, max_bytes)
    }

    /// The first record for which `after` holds, taken to hold for all behind it.
    pub(crate) fn find(&self, partition: Partition, after: impl Fn(&R) -> bool) -> Position {
        let inner = lock(&self.inner);
        let log = &inner.partitions[partition.0 as usize];
        let found = log.records.iter().find(|stored| after(&stored.record));
        found.map_or(log.end(), |stored| Position(stored.offset.0))
    }

    pub(crate) fn committed(&self, partition: Partition) -> Vec<(GroupId, Position)> {
        let inner = lock(&self.inner);
        let of = |(name, group): (&String, &Group)| {
            Some((GroupId::try_new(name).ok()?, group.committed.get(&partition)?.position))
        };
        inner.groups.iter().filter_map(of).collect()
    }

    /// The groups take everybody of this incarnation for dead.
    pub(crate) fn expire(&self, life: u64) {
        lock(&self.inner).groups.values_mut().for_each(|group| group.expire(life));
        self.changed.notify_waiters();
    }
}

impl<R: LogRecord> Inner<R> {
    pub(super) fn read(&self, partition: Partition, from: Position, most: usize, max_bytes: usize) -> Batch<R> {
        let log = &self.partitions[partition.0 as usize];
        let at = log.records.partition_point(|stored| from.covers(stored.offset));
        let mut bytes = 0;
        let fits = |stored: &&Stored<R>| {
            let fits = bytes == 0 || bytes < max_bytes;
            bytes += stored.record.weight();
            fits
        };
        let records: Arc<[Stored<R>]> = log.records[at..].iter().take(most.max(1)).take_while(fits).cloned().collect();
        let next = records.last().map_or(from, |last| last.offset.position_after());
        Batch { partition, from, records, next, provisional: None }
    }
}
