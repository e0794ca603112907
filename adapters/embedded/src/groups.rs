//! Consumer groups: who owns which partition, and how far each group got.
//!
//! Commits are state in the log's journal, so they survive; membership lives in memory, since every member is in this
//! process. A partition that must move is first revoked, and moves when its owner releases it.

mod assignment;
mod commits;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use nimbus_core::{ClientId, GroupId, Partition, Position, ports::log::Committed};

use crate::{
    members::{Control, Member},
    state::{StateJournal, StateKind, StateMachine, UnreadableState},
    topic::Topic,
};
use assignment::Owner;

/// Which group of which log.
pub(crate) type GroupKey = (Topic, GroupId);

#[derive(Debug)]
struct Group {
    committed: Vec<Committed>,
    owners: Vec<Owner>,
    members: BTreeMap<u64, Arc<Member>>,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<GroupKey, Group>,
    next_member: u64,
    closed: bool,
}

/// All consumer groups of the embedded log.
#[derive(Debug)]
pub(crate) struct Groups {
    partitions: usize,
    inner: Mutex<Inner>,
    journal: OnceLock<StateJournal>,
}

impl Groups {
    pub(crate) fn new(partitions: usize) -> Self {
        Self { partitions, inner: Mutex::default(), journal: OnceLock::new() }
    }

    /// From now on changes are written down. Called once, after recovery.
    pub(crate) fn begin(&self, journal: StateJournal) {
        let fresh = self.journal.set(journal).is_ok();
        debug_assert!(fresh, "groups begin once");
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, record: &[u8]) {
        if let Some(journal) = self.journal.get() {
            journal.note(record);
        }
    }

    /// Waits until every commit so far is durable.
    pub(crate) async fn flush(&self) -> Result<(), nimbus_core::ports::log::LogError> {
        match self.journal.get() {
            Some(journal) => journal.flush().await,
            None => Ok(()),
        }
    }

    /// Adds a member. A group that was never seen begins at `starts`; from then on it holds retention back.
    pub(crate) fn join(&self, key: &GroupKey, starts: impl FnOnce() -> Vec<Position>) -> Arc<Member> {
        let mut inner = self.lock();
        let id = inner.next_member;
        inner.next_member += 1;
        let group = inner.groups.entry(key.clone()).or_insert_with(|| {
            let committed: Vec<_> =
                starts().into_iter().map(|position| Committed { position, ..Committed::default() }).collect();
            self.note(&commits::whole_group(key, &committed));
            Group::new(committed)
        });
        let member = Arc::new(Member::new(id, self.partitions));
        group.members.insert(id, Arc::clone(&member));
        group.rebalance();
        if inner.closed {
            member.wake();
        }
        member
    }

    /// Removes a member, and gives its partitions to the others.
    pub(crate) fn leave(&self, key: &GroupKey, member: &Member) {
        if let Some(group) = self.lock().groups.get_mut(key) {
            group.members.remove(&member.id);
            for owner in &mut group.owners {
                if owner.member() == Some(member.id) {
                    *owner = Owner::Nobody;
                }
            }
            group.rebalance();
        }
    }

    /// Gives up a partition that a member owns.
    pub(crate) fn release(&self, key: &GroupKey, member: &Member, partition: Partition) {
        if let Some(group) = self.lock().groups.get_mut(key) {
            match group.owners.get_mut(partition.0 as usize) {
                Some(owner) if owner.member() == Some(member.id) => *owner = Owner::Nobody,
                _ => return,
            }
            group.rebalance();
        }
    }

    /// Notes how far a group is. The caller owns the partition.
    pub(crate) fn commit(&self, key: &GroupKey, member: &Member, partition: Partition, committed: Committed) {
        let mut inner = self.lock();
        let Some(group) = inner.groups.get_mut(key) else { return };
        let index = partition.0 as usize;
        if group.owners.get(index).and_then(Owner::member) != Some(member.id) {
            return;
        }
        // Under the lock, so that the journal has commits in the order of memory.
        self.note(&commits::one(key, partition, &committed));
        group.committed[index] = committed;
    }

    /// How far each group of a topic got in one partition.
    pub(crate) fn committed(&self, topic: Topic, partition: Partition) -> Vec<(GroupId, Position)> {
        let inner = self.lock();
        let of_topic = inner.groups.iter().filter(|((of, _), _)| *of == topic);
        let mut positions: Vec<_> =
            of_topic.map(|((_, id), group)| (id.clone(), group.committed[partition.0 as usize].position)).collect();
        positions.sort();
        positions
    }

    /// For each strand (by its index) how far the slowest group of its topic got; `None` when the topic has no group.
    pub(crate) fn slowest(&self) -> Vec<Option<Position>> {
        let inner = self.lock();
        let mut slowest = vec![None; Topic::ALL.len() * self.partitions];
        for ((topic, _), group) in &inner.groups {
            let of_topic = &mut slowest[topic.index() * self.partitions..][..self.partitions];
            for (slowest, committed) in of_topic.iter_mut().zip(&group.committed) {
                let position = slowest.map_or(committed.position, |other: Position| other.min(committed.position));
                *slowest = Some(position);
            }
        }
        slowest
    }

    /// Removes a group that has no members, and with it its hold on retention. Says whether it was there.
    pub(crate) fn forget(&self, key: &GroupKey) -> bool {
        let mut inner = self.lock();
        if inner.groups.get(key).is_none_or(|group| !group.members.is_empty()) {
            return false;
        }
        inner.groups.remove(key);
        self.note(&commits::forgotten(key));
        true
    }

    /// Wakes every member: the log is closed.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.groups.values().flat_map(|group| group.members.values()).for_each(|member| member.wake());
    }
}

impl Group {
    fn new(committed: Vec<Committed>) -> Self {
        let owners = vec![Owner::Nobody; committed.len()];
        Self { committed, owners, members: BTreeMap::new() }
    }

    fn rebalance(&mut self) {
        let members: Vec<u64> = self.members.keys().copied().collect();
        for change in assignment::rebalance(&mut self.owners, &members) {
            let (member, control) = match change {
                assignment::Change::Assign { partition, member } => {
                    let committed = self.committed[partition].clone();
                    (member, Control::Assigned { partition: Partition(partition as u32), committed })
                }
                assignment::Change::Revoke { partition, member } => {
                    (member, Control::Revoked { partition: Partition(partition as u32) })
                }
            };
            if let Some(member) = self.members.get(&member) {
                member.tell(control);
            }
        }
    }
}

impl StateMachine for Groups {
    fn kind(&self) -> StateKind {
        StateKind::Groups
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), UnreadableState> {
        let groups = commits::read_all(snapshot, self.partitions)?;
        self.lock().groups = groups.into_iter().map(|(key, committed)| (key, Group::new(committed))).collect();
        Ok(())
    }

    fn replay(&self, record: &[u8]) -> Result<(), UnreadableState> {
        let mut inner = self.lock();
        match commits::read(record, self.partitions)? {
            commits::Record::Whole(key, committed) => {
                inner.groups.insert(key, Group::new(committed));
            }
            commits::Record::One(key, partition, committed) => {
                // A snapshot that was taken after the group was forgotten: the record that says so is still to come.
                if let Some(group) = inner.groups.get_mut(&key) {
                    group.committed[partition.0 as usize] = committed;
                }
            }
            commits::Record::Forgotten(key) => {
                inner.groups.remove(&key);
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        let inner = self.lock();
        commits::all(inner.groups.iter().map(|(key, group)| (key, &group.committed[..])))
    }

    fn erase(&self, _client: &ClientId) {
        // Commits name no client.
    }
}
