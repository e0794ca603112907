//! Consumer groups of the log in memory: each partition goes to one member, by turns.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use nimbus_core::{
    GroupId, Partition, Position,
    ports::log::{Batch, Committed, Consumer, ConsumerEvent, LogError, LogRecord},
};

use super::MemoryLog;

#[derive(Debug, Default)]
pub(super) struct GroupState {
    pub(super) committed: HashMap<Partition, Committed>,
    owners: HashMap<Partition, u64>,
    members: Vec<u64>,
    /// How many records its members were handed.
    pub(super) handed: usize,
}

#[derive(Debug, Clone, Copy)]
struct MemberSeat {
    next: Position,
    paused: bool,
    revoked: bool,
}

#[derive(Debug)]
pub(super) struct MemoryConsumer<R: LogRecord> {
    log: MemoryLog<R>,
    group: String,
    member: u64,
    seats: BTreeMap<Partition, MemberSeat>,
    /// Records are wanted before they are durable.
    early: bool,
}

impl<R: LogRecord> MemoryConsumer<R> {
    /// Becomes a member of the group.
    pub(super) fn join(log: &MemoryLog<R>, group: &GroupId) -> Self {
        let member = log.change(|inner| {
            inner.members += 1;
            let member = inner.members;
            inner.groups.entry(group.as_str().to_owned()).or_default().members.push(member);
            member
        });
        Self { log: log.clone(), group: group.as_str().to_owned(), member, seats: BTreeMap::new(), early: false }
    }
}

/// Each partition is wanted by one member: by turns.
fn wanted(members: &[u64], partition: usize) -> u64 {
    members[partition % members.len()]
}

#[async_trait]
impl<R: LogRecord> Consumer<R> for MemoryConsumer<R> {
    fn joined(&self) -> BoxFuture<'static, ()> {
        let log = self.log.clone();
        Box::pin(async move { log.wait(|inner| (!inner.silent).then_some(())).await })
    }

    async fn next(&mut self) -> Result<ConsumerEvent<R>, LogError> {
        let (group, member, seats, early) = (&self.group, self.member, &mut self.seats, self.early);
        self.log
            .wait(|inner| {
                if inner.failing_reads > 0 {
                    inner.failing_reads -= 1;
                    return Some(Err(LogError::Unavailable("test".to_owned())));
                }
                let batch = inner.batch_records;
                let misread = inner.misread.take();
                let state = inner.groups.get_mut(group).expect("joined");
                for (number, log) in inner.partitions.iter().enumerate() {
                    let partition = Partition(number as u32);
                    let is_wanted = wanted(&state.members, number) == member;
                    match seats.get_mut(&partition) {
                        None if is_wanted && !state.owners.contains_key(&partition) => {
                            state.owners.insert(partition, member);
                            let committed = state.committed.get(&partition).cloned().unwrap_or_default();
                            let seat = MemberSeat { next: committed.position, paused: false, revoked: false };
                            seats.insert(partition, seat);
                            return Some(Ok(ConsumerEvent::Assigned { partition, committed }));
                        }
                        Some(seat) if !is_wanted && !seat.revoked => {
                            seat.revoked = true;
                            return Some(Ok(ConsumerEvent::Revoked { partition }));
                        }
                        Some(seat) if !seat.paused && !seat.revoked => {
                            if let Some(wrong) = misread {
                                seat.next = wrong;
                            }
                            if seat.next < log.start {
                                let (wanted, start) = (seat.next, log.start);
                                return Some(Err(LogError::Expired { partition, wanted, start }));
                            }
                            let (mut records, mut next) = log.read(seat.next, batch);
                            let mut provisional = None;
                            if records.is_empty() && early {
                                (records, next) = log.read_early(seat.next, batch);
                                provisional = inner.held.as_ref().map(|(_, fate)| fate.clone());
                            }
                            if !records.is_empty() {
                                let from = std::mem::replace(&mut seat.next, next);
                                state.handed += records.len();
                                return Some(Ok(ConsumerEvent::Records(Batch {
                                    partition,
                                    from,
                                    records,
                                    next,
                                    provisional,
                                })));
                            }
                        }
                        _ => {}
                    }
                }
                None
            })
            .await
    }

    fn show_early(&mut self) {
        self.early = true;
    }

    fn pause(&mut self, partition: Partition) {
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.paused = true;
        }
    }

    fn resume(&mut self, partition: Partition) {
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.paused = false;
        }
    }

    fn seek(&mut self, partition: Partition, position: Position) {
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.next = position;
        }
    }

    fn commit(&mut self, partition: Partition, committed: Committed) {
        assert!(committed.metadata.len() <= 4_096);
        let (group, member) = (&self.group, self.member);
        self.log.change(|inner| {
            let state = inner.groups.get_mut(group).expect("joined");
            if state.owners.get(&partition) == Some(&member) {
                state.committed.insert(partition, committed);
            }
        });
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn release(&mut self, partition: Partition) {
        self.seats.remove(&partition);
        let group = &self.group;
        self.log.change(|inner| {
            inner.groups.get_mut(group).expect("joined").owners.remove(&partition);
        });
    }
}

impl<R: LogRecord> Drop for MemoryConsumer<R> {
    fn drop(&mut self) {
        let (group, member) = (&self.group, self.member);
        self.log.change(|inner| {
            let state = inner.groups.get_mut(group).expect("joined");
            state.members.retain(|other| *other != member);
            state.owners.retain(|_, owner| *owner != member);
        });
    }
}
