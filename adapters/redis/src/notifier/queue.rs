//! One subscription's queue. Overflow drops the newcomer and leaves a mark, which the reader sees first. So does whatever comes
//! while results are held back, and then the reader sees the mark when that is over.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nimbus_core::ports::{log::LogRecord, notifier::Notification};
use tokio::sync::Notify;

/// Bounds of one subscription's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most notifications. Default [`Self::NOTIFICATIONS`].
    pub notifications: usize,
    /// Most bytes of results, roughly. Default [`Self::BYTES`].
    pub bytes: usize,
}

impl QueueLimits {
    /// About a second of batches at full load.
    pub const NOTIFICATIONS: usize = 1_024;
    /// Enough for the largest batches; a server that lags further is better served from the mailbox.
    pub const BYTES: usize = 32 << 20;
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { notifications: Self::NOTIFICATIONS, bytes: Self::BYTES }
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    wake: Notify,
    /// For the one that fills it: the connection is to be made anew.
    scissors: Notify,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<(usize, Notification)>,
    bytes: usize,
    /// Something was dropped, or may have been before the subscription began.
    missed: bool,
    /// Results are not taken until the connection was made anew.
    cut: bool,
    /// How many hold results back.
    holds: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, missed: true, cut: false, holds: 0, closed: false };
        Self { limits, state: Mutex::new(state), wake: Notify::new(), scissors: Notify::new() }
    }

    /// Takes the notification in, or drops it and remembers that something is missing.
    pub(super) fn push(&self, notification: Notification) -> bool {
        let bytes = weight(&notification);
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        // It is read from the mailbox when that is over: the reader is told then.
        if (state.cut || state.holds > 0) && matches!(notification, Notification::Results { .. }) {
            return false;
        }
        // An empty queue takes anything, or one huge batch would be lost every time it is sent.
        let fits = state.waiting.len() < self.limits.notifications
            && (state.waiting.is_empty() || state.bytes + bytes <= self.limits.bytes);
        if fits {
            state.bytes += bytes;
            state.waiting.push_back((bytes, notification));
        } else {
            state.missed = true;
        }
        drop(state);
        self.wake.notify_one();
        fits
    }

    /// Something may be missing.
    pub(super) fn missed(&self) {
        self.lock().missed = true;
        self.wake.notify_one();
    }

    /// What waits, and what comes over the connection that there is, is of a Redis that was lost: from here on no results are taken
    /// in until there is another one, see [`anew`](Self::anew).
    pub(super) fn cut(&self) {
        let mut state = self.lock();
        state.waiting.retain(|(_, notification)| !matches!(notification, Notification::Results { .. }));
        state.bytes = 0;
        state.cut = true;
        drop(state);
        self.scissors.notify_one();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// Waits until the connection is to be made anew. Cancel safe.
    pub(super) async fn to_be_cut(&self) {
        self.scissors.notified().await;
    }

    /// The connection was made anew: whatever comes from here on comes over that one, and what was not taken in meanwhile has to
    /// be read.
    pub(super) fn anew(&self) {
        let mut state = self.lock();
        (state.cut, state.missed) = (false, true);
        drop(state);
        self.wake.notify_one();
    }

    /// From here on no results are taken in, until [`go_on`](Self::go_on).
    pub(super) fn hold(&self) {
        self.lock().holds += 1;
    }

    /// The reader has to repair: it may have missed what was held back.
    pub(super) fn go_on(&self) {
        {
            let mut state = self.lock();
            state.holds = state.holds.saturating_sub(1);
            state.missed = true;
        }
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits for the next notification. Cancel safe: nothing is taken out before it is returned. One reader at a time.
    pub(super) async fn next(&self) -> Option<Notification> {
        loop {
            {
                let mut state = self.lock();
                // Ahead of what waits: the reader repairs from the mailbox, which holds everything that waits here too.
                if state.missed && state.holds == 0 {
                    state.missed = false;
                    return Some(Notification::MayHaveMissed);
                }
                if let Some((bytes, notification)) = state.waiting.pop_front() {
                    state.bytes -= bytes;
                    return Some(notification);
                }
                if state.closed {
                    return None;
                }
            }
            // A push between the lock and here has left its permit behind.
            self.wake.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code between two changes of the state can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(notification: &Notification) -> usize {
    match notification {
        Notification::Results { clients, .. } => {
            clients.iter().flat_map(|client| client.results.iter()).map(|stored| stored.record.weight()).sum()
        }
        Notification::Superseded { .. } | Notification::MayHaveMissed => 0,
    }
}

#[cfg(test)]
mod tests {
    use nimbus_core::{ClientId, Partition, Position, SessionId};
    use ulid::Ulid;

    use super::*;

    fn results() -> Notification {
        let (previous, last) = (Position(1), Position(2));
        Notification::Results { partition: Partition(0), previous, last, clients: Vec::new() }
    }

    fn superseded() -> Notification {
        Notification::Superseded { client: ClientId::try_new("c").unwrap(), session: SessionId(Ulid(1)) }
    }

    #[tokio::test]
    async fn what_is_held_back_is_missed_and_said_once_in_the_end() {
        let queue = Queue::new(QueueLimits::default());
        assert!(matches!(queue.next().await, Some(Notification::MayHaveMissed)));
        queue.hold();
        queue.hold();
        assert!(!queue.push(results()) && queue.push(superseded()));
        assert!(matches!(queue.next().await, Some(Notification::Superseded { .. })), "not results");
        queue.go_on();
        queue.missed();
        assert!(!queue.push(results()) && queue.push(superseded()), "one of them holds them back still");
        assert!(matches!(queue.next().await, Some(Notification::Superseded { .. })));
        queue.go_on();
        assert!(queue.push(results()));
        assert!(matches!(queue.next().await, Some(Notification::MayHaveMissed)), "before what comes from here on");
        assert!(matches!(queue.next().await, Some(Notification::Results { .. })));
    }
}
