//! Which client's events run, wait, or are left in the log. Pure.
//!
//! Each client has one run at a time, and a run has its events in order. A client that has more than its share in hand is
//! *parked*: its further events are not remembered at all, only the position from which the log has to be read again for
//! it. So a client whose events take long costs the others neither their turn nor memory.

use std::collections::VecDeque;

use nimbus_core::{ClientId, Offset, Position, chance::HashMap};

/// The clients of one partition that have something open. `W` is one event.
#[derive(Debug)]
pub(super) struct Clients<W> {
    slots: HashMap<ClientId, Slot<W>>,
    /// Clients that have work and no run, in the order in which they got it.
    idle: VecDeque<ClientId>,
    parked: usize,
    limit: usize,
    /// Emptied queues, for the next runs.
    spare: Vec<VecDeque<W>>,
    /// The reading again under way: its number, and where it began.
    scan: Option<Position>,
    scan_no: u64,
}

#[derive(Debug)]
struct Slot<W> {
    running: bool,
    /// Events in the run and in the queue.
    held: usize,
    queue: VecDeque<W>,
    parked: Option<Parked>,
}

#[derive(Debug, Clone, Copy)]
struct Parked {
    /// No event of the client at or after this position has been taken.
    from: Position,
    /// The scan that met an event of the client that could not be taken; from there on that scan is not for it.
    missed: u64,
}

/// How many emptied queues are kept.
const SPARE: usize = 64;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is in hand.
    Taken,
    /// It stays in the log.
    Left,
}

impl<W> Clients<W> {
    /// Each client may have `limit` events in hand.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: HashMap::default(),
            idle: VecDeque::new(),
            parked: 0,
            limit,
            spare: Vec::new(),
            scan: None,
            scan_no: 0,
        }
    }

    /// Offers the next event of the partition. `work` gets to know whether the event will have to wait for a run that is
    /// under way.
    pub(super) fn offer(&mut self, client: &ClientId, offset: Offset, work: impl FnOnce(bool) -> W) -> Offered {
        let slot = match self.slots.get_mut(client) {
            Some(slot) => slot,
            None => self.slots.entry(client.clone()).or_insert_with(|| Slot {
                running: false,
                held: 0,
                queue: self.spare.pop().unwrap_or_default(),
                parked: None,
            }),
        };
        if slot.parked.is_some() {
            return Offered::Left;
        }
        if slot.held >= self.limit {
            slot.parked = Some(Parked { from: Position(offset.0), missed: 0 });
            self.parked += 1;
            return Offered::Left;
        }
        if slot.push(work) {
            self.idle.push_back(client.clone());
        }
        Offered::Taken
    }

    /// Whether an event of the client would be taken now.
    pub(super) fn would_take(&self, client: &ClientId) -> bool {
        self.slots.get(client).is_none_or(|slot| slot.parked.is_none() && slot.held < self.limit)
    }

    /// The next run to start: a client and its events, in order.
    pub(super) fn start(&mut self) -> Option<(ClientId, VecDeque<W>)> {
        let client = self.idle.pop_front()?;
        let slot = self.slots.get_mut(&client)?;
        slot.running = true;
        let queue = std::mem::replace(&mut slot.queue, self.spare.pop().unwrap_or_default());
        Some((client, queue))
    }

    /// A run of `events` events ended; `queue` is its queue, to be used again.
    pub(super) fn ended(&mut self, client: &ClientId, events: usize, mut queue: VecDeque<W>) {
        queue.clear();
        if self.spare.len() < SPARE {
            self.spare.push(queue);
        }
        let Some(slot) = self.slots.get_mut(client) else { return };
        slot.running = false;
        slot.held -= events;
        if !slot.queue.is_empty() {
            self.idle.push_back(client.clone());
        } else if slot.parked.is_none()
            && let Some(slot) = self.slots.remove(client)
            && self.spare.len() < SPARE
        {
            self.spare.push(slot.queue);
        }
    }

    /// The lowest position from which a parked client has to be read again: nothing behind it is finished.
    pub(super) fn parked_from(&self) -> Option<Position> {
        if self.parked == 0 {
            return None;
        }
        self.slots.values().filter_map(|slot| slot.parked.map(|parked| parked.from)).min()
    }

    /// How many clients are parked.
    pub(super) const fn parked(&self) -> usize {
        self.parked
    }

    /// Begins to read the log again, from the position returned, if a parked client has room for more and no such
    /// reading is under way. One reading serves every parked client that it passes.
    pub(super) fn begin_scan(&mut self) -> Option<Position> {
        if self.parked == 0 || self.scan.is_some() {
            return None;
        }
        // Half empty, so that a reading is worth its while.
        let wanting = self.slots.values().filter(|slot| slot.held <= self.limit / 2);
        let from = wanting.filter_map(|slot| slot.parked.map(|parked| parked.from)).min()?;
        self.scan = Some(from);
        self.scan_no += 1;
        Some(from)
    }

    /// Offers an event that was read again. Events must come in order, without a gap since the scan began; `room` says
    /// whether the partition as a whole may have more in hand.
    pub(super) fn offer_again(
        &mut self,
        client: &ClientId,
        offset: Offset,
        room: bool,
        work: impl FnOnce(bool) -> W,
    ) -> Offered {
        let (Some(scan), Some(slot)) = (self.scan, self.slots.get_mut(client)) else { return Offered::Left };
        let Some(parked) = &mut slot.parked else { return Offered::Left };
        // A client that is parked before this scan began would get its events with a gap.
        if parked.from < scan || parked.missed == self.scan_no || parked.from.covers(offset) {
            return Offered::Left;
        }
        if slot.held >= self.limit || !room {
            *parked = Parked { from: Position(offset.0), missed: self.scan_no };
            return Offered::Left;
        }
        parked.from = offset.position_after();
        if slot.push(work) {
            self.idle.push_back(client.clone());
        }
        Offered::Taken
    }

    /// The log was read again up to `next`, and `read` is how far it was ever read. Says whether the scan goes on there;
    /// otherwise it is over, and every client that it served whole is no longer parked.
    pub(super) fn scanned(&mut self, next: Position, read: Position) -> bool {
        let Some(scan) = self.scan else { return false };
        let mut served = false;
        let mut whole = Vec::new();
        for (client, slot) in &mut self.slots {
            let Some(parked) = &mut slot.parked else { continue };
            if parked.from < scan || parked.missed == self.scan_no {
                continue;
            }
            served = true;
            parked.from = parked.from.max(next);
            if next >= read {
                whole.push(client.clone());
            }
        }
        for client in whole {
            self.parked -= 1;
            if let Some(slot) = self.slots.get_mut(&client) {
                slot.parked = None;
                if !slot.running && slot.queue.is_empty() {
                    self.slots.remove(&client);
                }
            }
        }
        let goes_on = served && next < read;
        if !goes_on {
            self.scan = None;
        }
        goes_on
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.idle.is_empty() && self.parked == 0
    }
}

impl<W> Slot<W> {
    /// Queues an event; says whether the client became idle-with-work by that.
    fn push(&mut self, work: impl FnOnce(bool) -> W) -> bool {
        let waits = self.running || self.parked.is_some();
        self.queue.push_back(work(waits));
        self.held += 1;
        !self.running && self.queue.len() == 1
    }
}

#[cfg(test)]
mod tests;
