//! What stands in for Redis: the rules of `nimbus_core::mailbox`, and who holds which client. It can go back to what it was a
//! while ago, or forget everything.

use std::{collections::BTreeMap, sync::Arc};

use nimbus_core::{
    ClientId, Partition, PartitionCount, Position, ResultRecord, ServerId, SessionId,
    clock::UnixMillis,
    mailbox::{MailboxLimits, PartitionMailbox, PartitionSnapshot, Rival, Tenure},
    ports::mailbox::{ClaimKind, Landmark},
};

use crate::log::LogStore;

/// The session that holds a client.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) session: SessionId,
    pub(super) kind: ClaimKind,
}

/// One partition, if there is a memory of it.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) rules: PartitionMailbox,
    /// Which memory it is.
    pub(super) born: u64,
    pub(super) holders: BTreeMap<ClientId, Holding>,
    /// Of those that hold their clients, and of those that did last.
    pub(super) tenures: BTreeMap<ClientId, Tenure>,
    pub(super) landmark: Option<Landmark>,
    /// How many clients sessions at other servers took from each.
    pub(super) taken: BTreeMap<ServerId, u64>,
}

/// Everything that is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) shelves: Vec<Option<Shelf>>,
    /// Changes whenever another copy takes over.
    pub(super) replication: u64,
    pub(super) limits: MailboxLimits,
    births: u64,
}

impl Memory {
    pub(super) fn new(partitions: PartitionCount, limits: MailboxLimits) -> Self {
        Self { shelves: vec![None; partitions.len()], replication: 0, limits, births: 0 }
    }

    /// The memory of a partition. If there is none, one begins at the start of the mailbox' window, with the floor there
    /// (rule 16).
    pub(super) fn shelf(
        &mut self,
        partition: Partition,
        log: &Arc<LogStore<ResultRecord>>,
        now: UnixMillis,
    ) -> &mut Shelf {
        let limits = self.limits;
        self.shelves[partition.0 as usize].get_or_insert_with(|| {
            self.births += 1;
            let window = u64::try_from(limits.window.as_millis()).unwrap_or(u64::MAX);
            let since = UnixMillis(now.0.saturating_sub(window));
            let start = log.find(partition, |record| record.produced >= since);
            let mut rules = PartitionMailbox::new(partition, limits);
            rules.restore(PartitionSnapshot { version: 0, applied: start, floor: start, clients: Vec::new() });
            // The log has records: there was a memory of them once.
            if log.end(partition) > Position::START {
                rules.came_after_a_loss(start);
            }
            Shelf {
                rules,
                born: self.births,
                holders: BTreeMap::new(),
                tenures: BTreeMap::new(),
                landmark: None,
                taken: BTreeMap::new(),
            }
        })
    }

    /// How far a partition is folded in, if anything is known.
    pub(super) fn applied(&self, partition: Partition) -> Option<Position> {
        self.shelves[partition.0 as usize].as_ref().map(|shelf| shelf.rules.applied())
    }
}

impl Shelf {
    /// Whether a session that is newer than one that claims again holds the client.
    pub(super) fn keeps(&self, client: &ClientId, claim: &Rival<'_>) -> bool {
        let (Some(holder), Some(tenure)) = (self.holders.get(client), self.tenures.get(client)) else { return false };
        Rival::claiming(&holder.kind, tenure).stays(claim)
    }
}
