//! The sending side of a stream: a request stream that makes frames as the transport asks for them, told what it may send
//! by a few atomics. Frames that may be sent at the same time leave in one piece.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{Stream, task::AtomicWaker};
use tokio::sync::oneshot;

use super::{
    dialect::Dialect,
    schedule::{Lateness, Schedule, Unsent},
    turns::Turns,
};

/// What the receiving side tells the sending side. Every change is followed by [`wake`](Self::wake).
#[derive(Debug)]
pub(crate) struct Feed {
    /// The last event that may be sent.
    allowed: AtomicU64,
    /// The last event that was made, however often.
    sent: AtomicU64,
    /// The last event there will be.
    last: AtomicU64,
    /// Go back to this event; 0 = no.
    rewind: AtomicU64,
    ack: AtomicU64,
    pongs: AtomicU64,
    ends: AtomicBool,
    /// During a pause, the last event that may leave; `u64::MAX` without one.
    pauses_after: AtomicU64,
    /// When the event with this number modulo the window was sent, or in an open loop was to be sent, in nanoseconds since
    /// `base`.
    stamps: Box<[AtomicU64]>,
    /// Of an open loop, from its beginning on.
    schedule: OnceLock<Schedule>,
    base: Instant,
    waker: AtomicWaker,
}

impl Feed {
    pub(crate) fn new(window: usize, last: u64, base: Instant) -> Self {
        Self {
            allowed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            last: AtomicU64::new(last),
            rewind: AtomicU64::new(0),
            ack: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            pauses_after: AtomicU64::new(u64::MAX),
            stamps: (0..window).map(|_| AtomicU64::new(0)).collect(),
            schedule: OnceLock::new(),
            base,
            waker: AtomicWaker::new(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn allow(&self, through: u64) {
        self.allowed.store(through, Ordering::Release);
    }

    /// From now on events leave when their turns come. Turns from `counts_from` on are counted in [`lateness`](Self::lateness).
    pub(crate) fn begin(&self, turns: Turns, counts_from: u64) {
        self.schedule.get_or_init(|| Schedule::new(turns, counts_from));
    }

    /// No event after those that were sent. In an open loop, those whose turn has come are still sent as far as the window is
    /// open; the rest of them is returned.
    pub(crate) fn stop(&self, now: u64) -> Option<Unsent> {
        let Some(schedule) = self.schedule.get() else {
            self.last.store(0, Ordering::Release);
            return None;
        };
        let unsent = schedule.end(now, self.last.load(Ordering::Acquire), self.allowed.load(Ordering::Acquire));
        self.last.store(unsent.sent(), Ordering::Release);
        Some(unsent)
    }

    /// How the turns of an open loop were kept.
    pub(crate) fn lateness(&self) -> Lateness {
        self.schedule.get().map(Schedule::lateness).unwrap_or_default()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    pub(crate) fn everything_sent(&self) -> bool {
        self.sent() >= self.last.load(Ordering::Acquire)
    }

    pub(crate) fn sent_at(&self, seq: u64) -> u64 {
        self.stamps[self.slot(seq)].load(Ordering::Acquire)
    }

    pub(crate) fn ack(&self, position: u64) {
        self.ack.store(position, Ordering::Release);
    }

    pub(crate) fn pong(&self) {
        self.pongs.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn rewind(&self, seq: u64) {
        self.rewind.store(seq, Ordering::Release);
    }

    /// Closes the sending side.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Release);
    }

    /// From now on, until [`renew`](Self::renew), only those events leave that could have left by now: the window is open, and
    /// in an open loop their turns have come. So a session has its share of events however soon it is to end.
    pub(crate) fn pause(&self) {
        let due = self.schedule.get().map_or(u64::MAX, |schedule| schedule.due(self.now()));
        let last = due.min(self.allowed.load(Ordering::Acquire)).min(self.last.load(Ordering::Acquire));
        self.pauses_after.store(last, Ordering::Release);
    }

    pub(crate) fn pauses(&self) -> bool {
        self.pauses_after.load(Ordering::Acquire) < u64::MAX
    }

    /// Everything that may leave during the pause has left.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.sent() >= self.pauses_after.load(Ordering::Acquire)
    }

    /// For the request stream of a new session: what the last one was to say is forgotten, and no event leaves before the next
    /// [`allow`](Self::allow).
    pub(crate) fn renew(&self) {
        self.allowed.store(0, Ordering::Release);
        self.ends.store(false, Ordering::Release);
        self.rewind.store(0, Ordering::Release);
        self.ack.store(0, Ordering::Release);
        self.pongs.store(0, Ordering::Release);
        self.pauses_after.store(u64::MAX, Ordering::Release);
    }

    /// The stamp of a new event, if it may leave now.
    fn stamp(&self, seq: u64, allowed: u64, now: u64) -> Option<u64> {
        match self.schedule.get() {
            Some(schedule) => schedule.leaves(seq, allowed, now),
            None => (seq <= allowed).then_some(now),
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    const fn slot(&self, seq: u64) -> usize {
        (seq % self.stamps.len() as u64) as usize
    }
}

/// The request stream. Whoever has the other end of `_there` sees when it is dropped.
#[derive(Debug)]
pub(crate) struct Requests<D> {
    _there: oneshot::Sender<Infallible>,
    feed: Arc<Feed>,
    dialect: Arc<D>,
    opening_sent: bool,
    next: u64,
    acked: u64,
}

impl<D: Dialect> Requests<D> {
    /// Begins with this event.
    pub(crate) fn new(feed: Arc<Feed>, dialect: Arc<D>, next: u64) -> (Self, oneshot::Receiver<Infallible>) {
        let (there, gone) = oneshot::channel();
        (Self { _there: there, feed, dialect, opening_sent: false, next, acked: 0 }, gone)
    }

    fn frame(&mut self, now: impl Fn(&Feed) -> u64) -> Poll<Option<D::Up>> {
        let feed = &*self.feed;
        if !std::mem::replace(&mut self.opening_sent, true)
            && let Some(opening) = self.dialect.opening()
        {
            return Poll::Ready(Some(opening));
        }
        if feed.pongs.load(Ordering::Acquire) > 0 {
            feed.pongs.fetch_sub(1, Ordering::AcqRel);
            return Poll::Ready(self.dialect.pong());
        }
        let ack = feed.ack.load(Ordering::Acquire);
        if ack > self.acked {
            self.acked = ack;
            return Poll::Ready(self.dialect.ack(ack));
        }
        if feed.rewind.load(Ordering::Acquire) > 0 {
            self.next = feed.rewind.swap(0, Ordering::AcqRel).min(self.next);
        }
        let sent = feed.sent.load(Ordering::Acquire);
        // What was sent once may be sent again after the end.
        let last = feed.last.load(Ordering::Acquire).max(sent);
        // An event that left while the pause began may be sent again.
        let pauses_after = feed.pauses_after.load(Ordering::Acquire).max(sent);
        let allowed = feed.allowed.load(Ordering::Acquire).min(pauses_after);
        let seq = self.next;
        if seq <= sent.min(allowed) {
            // It keeps its first stamp: the wait is part of its latency.
            self.next += 1;
            return Poll::Ready(Some(self.dialect.event(seq)));
        }
        if seq <= last
            && let Some(stamp) = feed.stamp(seq, allowed, now(feed))
        {
            self.next += 1;
            feed.stamps[feed.slot(seq)].store(stamp, Ordering::Release);
            feed.sent.store(seq, Ordering::Release);
            return Poll::Ready(Some(self.dialect.event(seq)));
        }
        if feed.ends.load(Ordering::Acquire) { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<D: Dialect> Stream for Requests<D> {
    type Item = D::Up;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<D::Up>> {
        let polled = self.frame(Feed::now);
        if polled.is_ready() {
            return polled;
        }
        self.feed.waker.register(cx.waker());
        // Something may have changed between the look and the registration.
        self.frame(Feed::now)
    }
}

#[cfg(test)]
mod tests;
