//! A consumer group, as its coordinator sees it. Pure.

use std::collections::BTreeMap;

use nimbus_core::{Partition, ports::log::Committed};

/// Who takes part, who has what, and how far they got.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By member, in the order of joining: of which incarnation it is.
    members: BTreeMap<u64, u64>,
    owners: BTreeMap<Partition, u64>,
    pub(super) committed: BTreeMap<Partition, Committed>,
}

impl Group {
    pub(super) fn join(&mut self, member: u64, life: u64) {
        self.members.insert(member, life);
    }

    pub(super) fn knows(&self, member: u64) -> bool {
        self.members.contains_key(&member)
    }

    /// Each partition is wanted by one member: by turns.
    pub(super) fn wants(&self, partition: Partition) -> Option<u64> {
        let turn = partition.0 as usize % self.members.len().max(1);
        self.members.keys().nth(turn).copied()
    }

    pub(super) fn owner(&self, partition: Partition) -> Option<u64> {
        self.owners.get(&partition).copied()
    }

    pub(super) fn give(&mut self, partition: Partition, member: u64) -> Committed {
        self.owners.insert(partition, member);
        self.committed.get(&partition).cloned().unwrap_or_default()
    }

    /// Whoever no longer owns a partition has no say in how far it is.
    pub(super) fn commit(&mut self, member: u64, partition: Partition, committed: Committed) {
        if self.owner(partition) == Some(member) {
            self.committed.insert(partition, committed);
        }
    }

    pub(super) fn release(&mut self, member: u64, partition: Partition) {
        if self.owner(partition) == Some(member) {
            self.owners.remove(&partition);
        }
    }

    pub(super) fn leave(&mut self, member: u64) {
        self.members.remove(&member);
        self.owners.retain(|_, owner| *owner != member);
    }

    pub(super) fn expire(&mut self, life: u64) {
        let gone: Vec<u64> = self.members.iter().filter(|(_, of)| **of == life).map(|(member, _)| *member).collect();
        gone.into_iter().for_each(|member| self.leave(member));
    }
}
