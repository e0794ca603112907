//! What one incarnation remembers of its own claims: to make them again when the memory was lost, and to undo those of which
//! it never heard. As the adapter over Redis does it.

use std::collections::BTreeMap;

use nimbus_core::{ClientId, Partition, ServerId, SessionId, mailbox::Held};

/// A claim whose answer never came.
#[derive(Debug)]
pub(super) struct UnsureClaim {
    pub(super) client: ClientId,
    pub(super) session: SessionId,
    pub(super) former: Option<(ServerId, SessionId)>,
}

/// Which memory something was found in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recollection {
    pub(super) partition: Partition,
    pub(super) born: u64,
    pub(super) replication: u64,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) held: Held,
    pub(super) unsure: Vec<UnsureClaim>,
    /// By partition: which memory it was.
    born: BTreeMap<Partition, u64>,
    replication: Option<u64>,
    /// Not everything was claimed again yet in the memory that is known now.
    is_partial: bool,
    /// By partition: how many clients others had taken when it was last looked who holds them.
    pub(super) taken: BTreeMap<Partition, u64>,
}

impl Notes {
    /// What is found first is what is to be expected from now on.
    pub(super) fn first(&mut self, seen: Recollection) {
        self.born.entry(seen.partition).or_insert(seen.born);
        self.replication.get_or_insert(seen.replication);
    }

    /// Whether this is the memory that is known now, or one after it.
    pub(super) fn is_current(&self, seen: Recollection) -> bool {
        self.born.get(&seen.partition).is_none_or(|born| *born <= seen.born)
            && self.replication.is_none_or(|replication| replication <= seen.replication)
    }

    /// Whether this is the memory that this incarnation has all its claims in, as far as it knows of one.
    pub(super) fn is_known(&self, seen: Recollection) -> bool {
        let is_same = self.born.get(&seen.partition).is_none_or(|born| *born == seen.born)
            && self.replication.is_none_or(|replication| replication == seen.replication);
        is_same && !self.is_partial
    }

    /// Whether this is another memory than before.
    pub(super) fn differ(&mut self, born: &[(Partition, u64)], replication: u64) -> bool {
        let replaced = self.replication.is_some_and(|known| known != replication);
        let emptied = born.iter().any(|(partition, born)| self.born.get(partition).is_some_and(|known| known != born));
        if !replaced && !emptied {
            let seen =
                |(partition, born): &(Partition, u64)| Recollection { partition: *partition, born: *born, replication };
            born.iter().map(seen).for_each(|seen| self.first(seen));
        }
        replaced || emptied || self.is_partial
    }

    /// Everything is going to be claimed again in this memory.
    pub(super) fn accept(&mut self, born: Vec<(Partition, u64)>, replication: u64) {
        self.born.extend(born);
        self.replication = Some(replication);
        self.is_partial = true;
    }

    /// And it was.
    pub(super) fn is_whole(&mut self) {
        self.is_partial = false;
    }
}
