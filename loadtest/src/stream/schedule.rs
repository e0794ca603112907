//! Whether the events of one stream of an open loop leave when their turns come, and if not, why.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::turns::Turns;

/// An event that leaves this long after its turn is late.
pub(crate) const LATE: Duration = Duration::from_millis(1);

/// When events are to leave, and whether they did. Only the request stream writes to the counters.
#[derive(Debug)]
pub(crate) struct Schedule {
    turns: Turns,
    counts_from: u64,
    /// When the window was last found shut before an event whose turn had come.
    shut_at: AtomicU64,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    held: AtomicU64,
    free: AtomicU64,
    late: AtomicU64,
    total: AtomicU64,
    largest: AtomicU64,
}

/// How turns were kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lateness {
    /// Events that waited for the window.
    pub(crate) held: u64,
    /// Events that did not have to.
    pub(crate) free: u64,
    /// How many of these left late all the same.
    pub(crate) late: u64,
    /// How long after their turns these left, together and at most, in nanoseconds.
    pub(crate) total: u64,
    pub(crate) largest: u64,
}

impl AddAssign for Lateness {
    fn add_assign(&mut self, more: Self) {
        self.held += more.held;
        self.free += more.free;
        self.late += more.late;
        self.total += more.total;
        self.largest = self.largest.max(more.largest);
    }
}

impl Schedule {
    /// Turns from `counts_from` on are counted.
    pub(crate) fn new(turns: Turns, counts_from: u64) -> Self {
        Self { turns, counts_from, shut_at: AtomicU64::new(0), counters: Counters::default() }
    }

    /// Returns an event's turn if it leaves now: the turn has come, and the window is open for it.
    pub(crate) fn leaves(&self, seq: u64, allowed: u64, now: u64) -> Option<u64> {
        let turn = self.turns.of(seq);
        if turn > now {
            return None;
        }
        if seq > allowed {
            self.shut_at.store(now, Ordering::Relaxed);
            return None;
        }
        if turn >= self.counts_from {
            self.count(turn, now);
        }
        Some(turn)
    }

    fn count(&self, turn: u64, now: u64) {
        let counters = &self.counters;
        // What the server makes wait is no fault of this process.
        if turn <= self.shut_at.load(Ordering::Relaxed) {
            counters.held.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lateness = now.saturating_sub(turn);
        counters.free.fetch_add(1, Ordering::Relaxed);
        counters.late.fetch_add(u64::from(u128::from(lateness) > LATE.as_nanos()), Ordering::Relaxed);
        counters.total.fetch_add(lateness, Ordering::Relaxed);
        counters.largest.fetch_max(lateness, Ordering::Relaxed);
    }

    /// The last event whose turn has come.
    pub(crate) fn due(&self, now: u64) -> u64 {
        self.turns.come(now)
    }

    /// The events up to `last` whose turns have come and for which the window is not open.
    pub(crate) fn end(&self, now: u64, last: u64, allowed: u64) -> Unsent {
        let due = self.due(now).min(last);
        Unsent { turns: self.turns, next: due.min(allowed) + 1, last: due }
    }

    pub(crate) fn lateness(&self) -> Lateness {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { held, free, late, total, largest } = &self.counters;
        Lateness { held: of(held), free: of(free), late: of(late), total: of(total), largest: of(largest) }
    }
}

/// Turns of events that are never sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsent {
    turns: Turns,
    next: u64,
    last: u64,
}

impl Unsent {
    /// The last event before them.
    pub(crate) const fn sent(&self) -> u64 {
        self.next - 1
    }
}

impl Iterator for Unsent {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let seq = self.next;
        (seq <= self.last).then(|| {
            self.next += 1;
            self.turns.of(seq)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A turn each millisecond from 10 ms on; what comes before 12 ms is not counted.
    fn schedule() -> Schedule {
        Schedule::new(Turns::new(1000.0, 1, 0, 10 * MS), 12 * MS)
    }

    #[test]
    fn an_event_leaves_at_its_turn_and_carries_it() {
        let schedule = schedule();
        assert_eq!(schedule.leaves(1, 9, 10 * MS - 1), None);
        assert_eq!(schedule.leaves(1, 9, 10 * MS), Some(10 * MS));
        assert_eq!(schedule.leaves(2, 9, 50 * MS), Some(11 * MS), "before what counts");
        assert_eq!(schedule.lateness(), Lateness::default());
        assert_eq!(schedule.leaves(3, 9, 12 * MS + 7), Some(12 * MS));
        assert_eq!(schedule.leaves(4, 9, 15 * MS), Some(13 * MS));
        let expected = Lateness { held: 0, free: 2, late: 1, total: 2 * MS + 7, largest: 2 * MS };
        assert_eq!(schedule.lateness(), expected);
    }

    #[test]
    fn an_event_that_waits_for_the_window_is_held_and_not_late() {
        let schedule = schedule();
        assert_eq!(schedule.leaves(3, 2, 12 * MS), None);
        assert_eq!(schedule.leaves(3, 2, 14 * MS), None);
        // The window opens: 3 to 5 had their turns while it was shut, 6 did not.
        for (seq, turn) in [(3, 12), (4, 13), (5, 14), (6, 15)] {
            assert_eq!(schedule.leaves(seq, 9, 40 * MS), Some(turn * MS));
        }
        let expected = Lateness { held: 3, free: 1, late: 1, total: 25 * MS, largest: 25 * MS };
        assert_eq!(schedule.lateness(), expected);
    }

    #[test]
    fn what_never_leaves_is_known_at_the_end() {
        let schedule = schedule();
        let unsent = schedule.end(15 * MS, 100, 4);
        assert_eq!(unsent.sent(), 4);
        assert_eq!(unsent.collect::<Vec<_>>(), [14 * MS, 15 * MS]);
        let open = schedule.end(15 * MS, 100, 50);
        assert_eq!((open.sent(), open.count()), (6, 0), "what is due is still sent");
        let over = schedule.end(15 * MS, 3, 50);
        assert_eq!((over.sent(), over.count()), (3, 0));
    }
}
