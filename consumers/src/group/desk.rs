//! Where a worker and its group meet: batches come in, requests and finished positions go out.
//!
//! What a worker wants (read from here, read on) and what it has finished are levels in a shared slot, not messages: the
//! latest counts, nothing queues up, and neither side ever waits for the other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use nimbus_core::{
    Position,
    ports::log::{Batch, Committed},
};
use tokio::sync::{Notify, mpsc};

/// How many batches may wait for a worker; then the partition is paused.
const QUEUED_BATCHES: usize = 2;

/// One batch may still come after a pause.
const INBOX_CAPACITY: usize = QUEUED_BATCHES + 1;

#[derive(Debug, Default)]
struct Slot {
    queued: usize,
    paused: bool,
    wants: Wants,
    finished: Option<Committed>,
}

/// What a worker asks of its group.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wants {
    /// Read from this position.
    pub(super) seek: Option<Position>,
    /// The queue has room again.
    pub(super) resume: bool,
}

/// The group's side.
#[derive(Debug)]
pub(super) struct Counter<R> {
    inbox: mpsc::Sender<Batch<R>>,
    slot: Arc<Mutex<Slot>>,
}

/// The worker's side.
#[derive(Debug)]
pub(crate) struct Desk<R> {
    inbox: mpsc::Receiver<Batch<R>>,
    slot: Arc<Mutex<Slot>>,
    /// Wakes the group, which then looks at every slot.
    bell: Arc<Notify>,
}

/// What became of a batch that was handed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// There is room for more.
    Taken,
    /// There is no room for more: pause the partition.
    Last,
    /// It was not taken: the worker is ending, or the log sent more than it may after a pause.
    Refused,
}

pub(super) fn desk<R>(bell: &Arc<Notify>) -> (Counter<R>, Desk<R>) {
    let (inbox_tx, inbox) = mpsc::channel(INBOX_CAPACITY);
    let slot = Arc::new(Mutex::new(Slot::default()));
    (Counter { inbox: inbox_tx, slot: Arc::clone(&slot) }, Desk { inbox, slot, bell: Arc::clone(bell) })
}

/// A panic while the lock is held leaves nothing half done: every change is one assignment.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> Counter<R> {
    pub(super) fn hand(&self, batch: Batch<R>) -> Handed {
        let mut slot = lock(&self.slot);
        if self.inbox.try_send(batch).is_err() {
            return Handed::Refused;
        }
        slot.queued += 1;
        if slot.queued < QUEUED_BATCHES {
            return Handed::Taken;
        }
        slot.paused = true;
        Handed::Last
    }

    pub(super) fn take_wants(&self) -> Wants {
        std::mem::take(&mut lock(&self.slot).wants)
    }

    /// Whether something was finished since it was taken last.
    pub(super) fn has_finished(&self) -> bool {
        lock(&self.slot).finished.is_some()
    }

    /// What was finished since this was asked last.
    pub(super) fn take_finished(&self) -> Option<Committed> {
        lock(&self.slot).finished.take()
    }
}

impl<R> Desk<R> {
    /// Asks for the partition to be read from `position`. No batch comes before this was asked for the first time.
    pub(crate) fn read_from(&self, position: Position) {
        lock(&self.slot).wants.seek = Some(position);
        self.bell.notify_one();
    }

    /// Notes that everything before `committed.position` is finished. Committed soon; the latest counts.
    pub(crate) fn finished(&self, committed: Committed) {
        if lock(&self.slot).finished.replace(committed).is_none() {
            self.bell.notify_one();
        }
    }

    /// Gives up what was handed over and not taken. No batch comes any more, and the partition stays paused.
    pub(crate) fn read_no_more(&mut self) {
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
    }

    /// The next batch; `None` when the group is gone.
    pub(crate) fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch<R>>> {
        let batch = std::task::ready!(self.inbox.poll_recv(cx));
        if batch.is_some() {
            let mut slot = lock(&self.slot);
            slot.queued = slot.queued.saturating_sub(1);
            if slot.paused && slot.queued < QUEUED_BATCHES {
                slot.paused = false;
                slot.wants.resume = true;
                self.bell.notify_one();
            }
        }
        Poll::Ready(batch)
    }

    /// Waits for the next batch; `None` when the group is gone. Cancel safe.
    pub(crate) async fn batch(&mut self) -> Option<Batch<R>> {
        std::future::poll_fn(|cx| self.poll_batch(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use nimbus_core::Partition;

    use super::*;

    fn batch(from: u64) -> Batch<u8> {
        Batch {
            partition: Partition(0),
            from: Position(from),
            records: Arc::from([]),
            next: Position(from + 1),
            provisional: None,
        }
    }

    #[tokio::test]
    async fn a_full_queue_pauses_and_asks_to_go_on_once_there_is_room() {
        let bell = Arc::new(Notify::new());
        let (counter, mut desk) = desk(&bell);
        assert_eq!(counter.hand(batch(0)), Handed::Taken);
        assert_eq!(counter.hand(batch(1)), Handed::Last);
        assert_eq!(counter.hand(batch(2)), Handed::Last, "one may still come after a pause");
        assert_eq!(counter.hand(batch(3)), Handed::Refused);
        assert_eq!(counter.take_wants(), Wants::default());
        assert_eq!(desk.batch().await.unwrap().from, Position(0));
        assert_eq!(counter.take_wants(), Wants::default(), "still full");
        assert_eq!(desk.batch().await.unwrap().from, Position(1));
        bell.notified().await;
        assert_eq!(counter.take_wants(), Wants { seek: None, resume: true });
        assert_eq!(counter.take_wants(), Wants::default());
    }

    #[tokio::test]
    async fn after_the_last_batch_that_is_wanted_none_is_taken() {
        let (counter, mut desk) = desk(&Arc::new(Notify::new()));
        assert_eq!(counter.hand(batch(0)), Handed::Taken);
        desk.read_no_more();
        assert_eq!(counter.hand(batch(1)), Handed::Refused);
        assert!(desk.batch().await.is_none());
    }

    #[tokio::test]
    async fn the_latest_request_and_the_latest_finish_count() {
        let bell = Arc::new(Notify::new());
        let (counter, desk) = desk::<u8>(&bell);
        for position in [3, 5] {
            desk.read_from(Position(position));
            desk.finished(Committed { position: Position(position), ..Committed::default() });
        }
        bell.notified().await;
        assert_eq!(counter.take_wants().seek, Some(Position(5)));
        assert_eq!(counter.take_finished().unwrap().position, Position(5));
        assert_eq!(counter.take_finished(), None);
    }
}
