//! One member of a group. Commits, releases and the leaving are on their way for a while, in order, and a commit may be
//! lost. A member that was silent for too long finds out that it lost everything, gives it up and joins anew.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use nimbus_core::{
    GroupId, Partition, Position,
    ports::log::{Committed, Consumer, ConsumerEvent, LogError},
};
use tokio::{sync::Notify, time::Instant};

use super::{Booked, LogStore, group::Group, store::Inner};
use crate::{life::Life, lock, plan::Bug};

#[derive(Debug, Clone, Copy)]
struct Seat {
    /// As which member it was given: what is said of it later is said as that one.
    member: u64,
    next: Position,
    paused: bool,
    revoked: bool,
}

/// What a member tells the coordinator.
#[derive(Debug)]
enum Word {
    Commit(Partition, Committed),
    Release(Partition),
    Leave,
}

#[derive(Debug, Default)]
struct Outgoing {
    words: Mutex<VecDeque<(u64, Instant, Word)>>,
    moved: Notify,
}

pub(super) struct SimConsumer<R: Booked> {
    life: Arc<Life>,
    store: Arc<LogStore<R>>,
    group: String,
    member: u64,
    seats: BTreeMap<Partition, Seat>,
    outgoing: Arc<Outgoing>,
    /// When the next event has made its way here. Kept between calls, which may be cancelled.
    due: Option<Instant>,
}

impl<R: Booked> fmt::Debug for SimConsumer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimConsumer").field("group", &self.group).field("member", &self.member).finish_non_exhaustive()
    }
}

impl<R: Booked> SimConsumer<R> {
    pub(super) fn join(life: &Arc<Life>, store: &Arc<LogStore<R>>, group: &GroupId) -> Self {
        let group = group.as_str().to_owned();
        let member = enter(store, &group, life.id);
        let outgoing = Arc::new(Outgoing::default());
        let courier = deliver(Arc::clone(life), Arc::clone(store), group.clone(), Arc::clone(&outgoing));
        tokio::spawn(courier);
        Self {
            life: Arc::clone(life),
            store: Arc::clone(store),
            group,
            member,
            seats: BTreeMap::new(),
            outgoing,
            due: None,
        }
    }

    fn say(&self, member: u64, word: Word) {
        let mut words = lock(&self.outgoing.words);
        let due = Instant::now() + self.life.world.delay();
        // In order: no word overtakes the one before it.
        let due = words.back().map_or(due, |(_, last, _)| due.max(*last));
        words.push_back((member, due, word));
        drop(words);
        self.outgoing.moved.notify_waiters();
    }

    /// What there is for this member now.
    fn poll(&mut self) -> Option<ConsumerEvent<R>> {
        let mut guard = lock(&self.store.inner);
        let Inner { groups, .. } = &mut *guard;
        let group = groups.get_mut(&self.group)?;
        if !group.knows(self.member) {
            return lost(&mut self.seats).or_else(|| {
                drop(guard);
                self.member = enter(&self.store, &self.group, self.life.id);
                None
            });
        }
        for partition in self.store.partitions().all() {
            let wanted = group.wants(partition) == Some(self.member);
            match self.seats.get_mut(&partition) {
                None if wanted && group.owner(partition).is_none() => {
                    let committed = group.give(partition, self.member);
                    let (member, next) = (self.member, committed.position);
                    let seat = Seat { member, next, paused: false, revoked: false };
                    self.seats.insert(partition, seat);
                    return Some(ConsumerEvent::Assigned { partition, committed });
                }
                Some(seat) if !wanted && !seat.revoked => {
                    seat.revoked = true;
                    return Some(ConsumerEvent::Revoked { partition });
                }
                _ => {}
            }
        }
        let world = &self.life.world;
        for (partition, seat) in &mut self.seats {
            if seat.paused || seat.revoked {
                continue;
            }
            let most = world.batch_records();
            let batch = guard.read(*partition, seat.next, most, usize::MAX);
            if !batch.records.is_empty() {
                seat.next = batch.next;
                return Some(ConsumerEvent::Records(batch));
            }
        }
        None
    }
}

/// Becomes a new member.
fn enter<R: Booked>(store: &LogStore<R>, group: &str, life: u64) -> u64 {
    let member = {
        let mut inner = lock(&store.inner);
        inner.members += 1;
        let member = inner.members;
        inner.groups.entry(group.to_owned()).or_default().join(member, life);
        member
    };
    store.changed.notify_waiters();
    member
}

/// One partition after the other is gone.
fn lost<R>(seats: &mut BTreeMap<Partition, Seat>) -> Option<ConsumerEvent<R>> {
    let (partition, seat) = seats.iter_mut().find(|(_, seat)| !seat.revoked)?;
    seat.revoked = true;
    Some(ConsumerEvent::Revoked { partition: *partition })
}

/// Brings words to the coordinator.
async fn deliver<R: Booked>(life: Arc<Life>, store: Arc<LogStore<R>>, group: String, outgoing: Arc<Outgoing>) {
    loop {
        let due = loop {
            let mut moved = std::pin::pin!(outgoing.moved.notified());
            moved.as_mut().enable();
            if let Some((_, due, _)) = lock(&outgoing.words).front() {
                break *due;
            }
            if Arc::strong_count(&outgoing) == 1 {
                return;
            }
            moved.await;
        };
        tokio::time::sleep_until(due).await;
        life.pass().await;
        let Some((member, _, word)) = lock(&outgoing.words).pop_front() else { continue };
        let is_last = matches!(word, Word::Leave);
        {
            let mut inner = lock(&store.inner);
            let group: &mut Group = inner.groups.entry(group.clone()).or_default();
            match word {
                Word::Commit(partition, committed) if !life.world.fails() => {
                    group.commit(member, partition, committed);
                }
                // It is lost.
                Word::Commit(..) => {}
                Word::Release(partition) => group.release(member, partition),
                Word::Leave => group.leave(member),
            }
        }
        life.world.step("group", life.id, member);
        store.changed.notify_waiters();
        outgoing.moved.notify_waiters();
        if is_last {
            return;
        }
    }
}

#[async_trait]
impl<R: Booked> Consumer<R> for SimConsumer<R> {
    async fn next(&mut self) -> Result<ConsumerEvent<R>, LogError> {
        loop {
            self.life.pass().await;
            let due = *self.due.get_or_insert_with(|| Instant::now() + self.life.world.delay());
            tokio::time::sleep_until(due).await;
            self.life.pass().await;
            let store = Arc::clone(&self.store);
            let mut changed = std::pin::pin!(store.changed.notified());
            changed.as_mut().enable();
            if let Some(event) = self.poll() {
                self.due = None;
                if self.life.world.fails() && matches!(event, ConsumerEvent::Records(_)) {
                    let ConsumerEvent::Records(batch) = event else { continue };
                    if let Some(seat) = self.seats.get_mut(&batch.partition) {
                        seat.next = batch.from;
                    }
                    return Err(LogError::Unavailable("simulated".to_owned()));
                }
                let what = match &event {
                    ConsumerEvent::Assigned { .. } => "assigned",
                    ConsumerEvent::Revoked { .. } => "revoked",
                    ConsumerEvent::Records(_) => "records",
                };
                self.life.world.step(what, self.life.id, self.member);
                return Ok(event);
            }
            changed.await;
        }
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
        self.store.changed.notify_waiters();
    }

    fn seek(&mut self, partition: Partition, position: Position) {
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.next = position;
        }
        self.store.changed.notify_waiters();
    }

    fn commit(&mut self, partition: Partition, mut committed: Committed) {
        let Some(seat) = self.seats.get(&partition) else { return };
        let world = &self.life.world;
        if world.has(Bug::CommitPastFailure) {
            committed.position = committed.position.max(seat.next);
        }
        if !self.life.is_dead() {
            world.ledger.committed(&self.group, partition, committed.position);
        }
        let member = seat.member;
        self.say(member, Word::Commit(partition, committed));
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        loop {
            self.life.pass().await;
            let mut moved = std::pin::pin!(self.outgoing.moved.notified());
            moved.as_mut().enable();
            if lock(&self.outgoing.words).is_empty() {
                return Ok(());
            }
            moved.await;
        }
    }

    fn release(&mut self, partition: Partition) {
        if let Some(seat) = self.seats.remove(&partition) {
            self.say(seat.member, Word::Release(partition));
        }
    }
}

impl<R: Booked> Drop for SimConsumer<R> {
    fn drop(&mut self) {
        // A kill runs no destructor's I/O: the group finds out by the silence.
        if !self.life.is_dead() {
            self.say(self.member, Word::Leave);
        }
    }
}
