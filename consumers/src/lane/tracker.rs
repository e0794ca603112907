//! How far a partition is finished without a gap: the only place that may be committed. Pure.

use std::collections::VecDeque;

use nimbus_core::{Offset, Position};

/// Tracks open events of one partition.
///
/// Events open mostly in offset order and settle in any order. What is settled behind an open event is kept only until
/// it outweighs what is open, so that one slow event under heavy traffic costs no memory.
#[derive(Debug)]
pub(super) struct CommitTracker {
    read: Position,
    /// Sorted by offset; the first one is open.
    events: VecDeque<(Offset, State)>,
    open: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Settled,
}

/// Below this many, settled events are not worth removing.
const SLACK: usize = 1_024;

impl CommitTracker {
    /// Nothing is open, everything before `read` is finished.
    pub(super) fn new(read: Position) -> Self {
        Self { read, events: VecDeque::new(), open: 0 }
    }

    /// Notes an event that is not finished. It may lie before others (it was left in the log and read again).
    pub(super) fn open(&mut self, offset: Offset) {
        self.open += 1;
        match self.events.back() {
            Some((last, _)) if *last >= offset => {
                let at = self.events.partition_point(|(other, _)| *other < offset);
                match self.events.get_mut(at) {
                    Some((other, state)) if *other == offset => *state = State::Open,
                    _ => self.events.insert(at, (offset, State::Open)),
                }
            }
            _ => self.events.push_back((offset, State::Open)),
        }
    }

    /// Everything before `position` has been looked at: what is not open is finished.
    pub(super) fn read_to(&mut self, position: Position) {
        self.read = self.read.max(position);
    }

    /// Where the next batch begins.
    pub(super) const fn read(&self) -> Position {
        self.read
    }

    /// Notes that an event is finished. Does nothing if it is not open.
    pub(super) fn settle(&mut self, offset: Offset) {
        let at = match self.events.front() {
            Some((first, _)) if *first == offset => 0,
            _ => self.events.partition_point(|(other, _)| *other < offset),
        };
        match self.events.get_mut(at) {
            Some((other, state @ State::Open)) if *other == offset => *state = State::Settled,
            _ => return,
        }
        self.open -= 1;
        while let Some((_, State::Settled)) = self.events.front() {
            self.events.pop_front();
        }
        if self.events.len() > 2 * self.open + SLACK {
            self.events.retain(|(_, state)| *state == State::Open);
        }
    }

    /// Everything before this is finished.
    pub(super) fn position(&self) -> Position {
        self.events.front().map_or(self.read, |(first, _)| Position(first.0).min(self.read))
    }

    /// How many events are open.
    pub(super) const fn in_hand(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// Read this many offsets further; those with a true are opened.
        Read(Vec<bool>),
        /// Open the nth offset that was read and is not open.
        Reopen(usize),
        /// Settle the nth open one.
        Settle(usize),
        /// Settle something that is not open.
        SettleOther(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => proptest::collection::vec(any::<bool>(), 0..20).prop_map(Step::Read),
            1 => any::<usize>().prop_map(Step::Reopen),
            12 => any::<usize>().prop_map(Step::Settle),
            1 => (0u64..400).prop_map(Step::SettleOther),
        ]
    }

    proptest! {
        /// The model: a set of open offsets. Never past an open event, never short of the first one.
        #[test]
        fn commits_exactly_up_to_the_first_open_event(start in 0u64..50, steps in proptest::collection::vec(step(), 0..120)) {
            let mut tracker = CommitTracker::new(Position(start));
            let mut open: BTreeSet<u64> = BTreeSet::new();
            let mut read = start;
            for step in steps {
                match step {
                    Step::Read(opened) => {
                        for is_open in opened {
                            if is_open {
                                tracker.open(Offset(read));
                                open.insert(read);
                            }
                            read += 1;
                        }
                        tracker.read_to(Position(read));
                    }
                    Step::Reopen(nth) => {
                        let lowest = open.first().copied().unwrap_or(read);
                        let closed: Vec<u64> = (lowest..read).filter(|offset| !open.contains(offset)).collect();
                        if !closed.is_empty() {
                            let offset = closed[nth % closed.len()];
                            tracker.open(Offset(offset));
                            open.insert(offset);
                        }
                    }
                    Step::Settle(nth) if !open.is_empty() => {
                        let offset = *open.iter().nth(nth % open.len()).unwrap();
                        open.remove(&offset);
                        tracker.settle(Offset(offset));
                    }
                    Step::Settle(_) => {}
                    Step::SettleOther(offset) => {
                        if !open.contains(&offset) {
                            tracker.settle(Offset(offset));
                        }
                    }
                }
                prop_assert_eq!(tracker.position(), Position(open.first().copied().unwrap_or(read)));
                prop_assert_eq!(tracker.in_hand(), open.len());
                prop_assert_eq!(tracker.read(), Position(read));
            }
        }
    }

    #[test]
    fn one_slow_event_under_heavy_traffic_costs_no_memory() {
        let mut tracker = CommitTracker::new(Position(0));
        tracker.open(Offset(0));
        for offset in 1..100_000 {
            tracker.open(Offset(offset));
            tracker.read_to(Position(offset + 1));
            tracker.settle(Offset(offset));
            assert!(tracker.events.len() <= SLACK + 4);
        }
        assert_eq!(tracker.position(), Position(0));
        tracker.settle(Offset(0));
        assert_eq!(tracker.position(), Position(100_000));
    }
}
