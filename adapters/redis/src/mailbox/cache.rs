//! What a router keeps of its partition between two batches, so that it need not read it again.
//!
//! It is true only as long as Redis is where this router left it. It is taken out while a batch is applied and put back
//! when Redis said that it was: a call that failed or was given up half way leaves nothing behind, and one that was refused
//! only what the refusal did not touch.

use nimbus_core::{ClientId, Position, PrincipalId, chance::HashMap};

use super::PartitionHead;
use crate::codec::{owner::Hands, seen::Seen};

/// One client, as of the partition's `applied`.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) hands: Hands,
    pub(super) principal: Option<PrincipalId>,
    /// From a change of hands.
    pub(super) floor: Position,
    pub(super) seen: Seen,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) head: Option<PartitionHead>,
    pub(super) clients: Clients,
}

impl Route {
    pub(super) fn new(capacity: usize) -> Self {
        Self { head: None, clients: Clients { capacity, young: HashMap::default(), old: HashMap::default() } }
    }

    /// Believes nothing of it any more.
    pub(super) fn clear(&mut self) {
        drop(self.take());
    }

    /// Everything, and leaves nothing.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(self.clients.capacity);
        std::mem::replace(self, empty)
    }
}

/// The clients that had results last, in two generations: what was not used for a whole generation goes.
#[derive(Debug)]
pub(super) struct Clients {
    capacity: usize,
    young: HashMap<ClientId, Known>,
    old: HashMap<ClientId, Known>,
}

impl Clients {
    /// Makes room. Between batches only: those of a batch must all stay.
    pub(super) fn make_room(&mut self) {
        if self.young.len() * 2 >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Whether the client is known; if so it is one of the young.
    pub(super) fn touch(&mut self, client: &ClientId) -> bool {
        if self.young.contains_key(client) {
            return true;
        }
        match self.old.remove_entry(client) {
            Some((client, known)) => {
                self.young.insert(client, known);
                true
            }
            None => false,
        }
    }

    pub(super) fn insert(&mut self, client: ClientId, known: Known) {
        self.young.insert(client, known);
    }

    pub(super) fn get_mut(&mut self, client: &ClientId) -> Option<&mut Known> {
        self.young.get_mut(client)
    }

    pub(super) fn remove(&mut self, client: &ClientId) {
        self.young.remove(client);
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
