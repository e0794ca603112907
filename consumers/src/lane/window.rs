//! Which jobs are answered beyond the oldest open one. Pure.
//!
//! Jobs take long and overtake one another. So that one job of an hour does not make everybody's hour be repeated after a
//! crash, the offsets of the jobs answered behind it travel in the commit's metadata. They are bounded; when the window
//! is full the lane reads no further until the oldest open job ends.

use std::{collections::BTreeSet, num::NonZeroUsize};

use nimbus_core::{Offset, Position};

use super::{lanes::UnknownNotes, varint};

/// The most bytes that the notes may take: a commit's metadata has 4 KiB, and `lanes.rs` has notes of its own in it.
const MAX_BYTES: usize = 3_000;

/// The open and the answered jobs of one partition.
#[derive(Debug)]
pub(super) struct JobsWindow {
    read: Position,
    limit: usize,
    open: BTreeSet<Offset>,
    /// Answered, and not before the oldest open one.
    answered: BTreeSet<Offset>,
}

/// What to do with a job that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Execute it.
    Execute,
    /// It was answered before a restart: pass it over.
    Answered,
    /// Not now: the window is full.
    Full,
}

impl JobsWindow {
    /// Nothing is open, everything before `read` is finished.
    pub(super) fn new(read: Position, limit: NonZeroUsize) -> Self {
        Self { read, limit: limit.get(), open: BTreeSet::new(), answered: BTreeSet::new() }
    }

    /// Takes over what a predecessor noted in its commit.
    ///
    /// # Errors
    /// When the notes are of another make. Nothing changes then: those jobs will be executed again, which is allowed.
    pub(super) fn restore(&mut self, position: Position, notes: &[u8]) -> Result<(), UnknownNotes> {
        let answered = decode(position, notes)?;
        self.answered = answered.into_iter().filter(|offset| !self.read.covers(*offset)).collect();
        Ok(())
    }

    /// Asks what to do with the job at `offset`; one that is to be executed is open from now on.
    pub(super) fn admit(&mut self, offset: Offset) -> Admission {
        if self.answered.contains(&offset) {
            return Admission::Answered;
        }
        if self.is_full(offset) {
            return Admission::Full;
        }
        self.open.insert(offset);
        Admission::Execute
    }

    /// Whether one more open job could, at worst, leave more answered ones behind the oldest than may be noted. Without
    /// an open job there is always room: the next one is the oldest.
    fn is_full(&self, next: Offset) -> bool {
        let known = self.open.len() + self.answered.len();
        if self.open.is_empty() {
            return false;
        }
        known >= self.limit || ((known + 2) * varint::MAX_BYTES > MAX_BYTES && self.worst_notes(next) > MAX_BYTES)
    }

    /// How long the notes would be if all but the oldest were answered.
    fn worst_notes(&self, next: Offset) -> usize {
        let all: BTreeSet<Offset> = self.open.union(&self.answered).copied().chain([next]).collect();
        encode(self.position(), &all).len()
    }

    /// Everything before `position` has been looked at.
    pub(super) fn read_to(&mut self, position: Position) {
        self.read = self.read.max(position);
        self.forget();
    }

    /// Where the next batch begins.
    pub(super) const fn read(&self) -> Position {
        self.read
    }

    /// Notes that a job is answered. Does nothing if it is not open.
    pub(super) fn settle(&mut self, offset: Offset) {
        if self.open.remove(&offset) {
            self.answered.insert(offset);
            self.forget();
        }
    }

    fn forget(&mut self) {
        let position = self.position();
        while self.answered.first().is_some_and(|first| position.covers(*first)) {
            self.answered.pop_first();
        }
    }

    /// Everything before this is answered.
    pub(super) fn position(&self) -> Position {
        self.open.first().map_or(self.read, |first| Position(first.0).min(self.read))
    }

    /// The notes on the jobs answered at or after [`position`](Self::position).
    pub(super) fn notes(&self) -> Vec<u8> {
        encode(self.position(), &self.answered)
    }

    /// How many jobs are open.
    pub(super) fn in_hand(&self) -> usize {
        self.open.len()
    }
}

/// The distance of each offset from the one before (the first: from the position), as varints.
fn encode(position: Position, answered: &BTreeSet<Offset>) -> Vec<u8> {
    let mut notes = Vec::with_capacity(answered.len() * 2);
    let mut last = position.0;
    for offset in answered {
        varint::write(&mut notes, offset.0.saturating_sub(last));
        last = offset.0;
    }
    notes
}

fn decode(position: Position, mut notes: &[u8]) -> Result<Vec<Offset>, UnknownNotes> {
    let mut answered = Vec::new();
    let mut last = position.0;
    while !notes.is_empty() {
        let distance = varint::read(&mut notes).ok_or(UnknownNotes)?;
        last = last.checked_add(distance).ok_or(UnknownNotes)?;
        answered.push(Offset(last));
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(limit: usize) -> NonZeroUsize {
        NonZeroUsize::new(limit).unwrap()
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Read the next offsets: a job where true.
        Read(Vec<bool>),
        /// Settle the nth open one.
        Settle(usize),
        /// Go on from what was committed.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => proptest::collection::vec(any::<bool>(), 0..12).prop_map(Step::Read),
            6 => any::<usize>().prop_map(Step::Settle),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// The model: which jobs were ever answered. No answered job is executed again after any restart, no job is
        /// left out, and the notes stay within their bound.
        #[test]
        fn no_answered_job_is_executed_again_and_none_is_left_out(
            limit_ in 1usize..12, steps in proptest::collection::vec(step(), 0..80),
        ) {
            let mut window = JobsWindow::new(Position(0), limit(limit_));
            let mut jobs: BTreeSet<u64> = BTreeSet::new();
            let mut answered: BTreeSet<u64> = BTreeSet::new();
            let mut open: BTreeSet<u64> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Read(kinds) => {
                        for is_job in kinds {
                            let offset = window.read().0;
                            // What an offset is does not change between two reads of it.
                            let known = jobs.contains(&offset) || jobs.range(offset..).next().is_some();
                            let is_job = if known { jobs.contains(&offset) } else { is_job };
                            if is_job {
                                match window.admit(Offset(offset)) {
                                    Admission::Execute => {
                                        jobs.insert(offset);
                                        prop_assert!(!answered.contains(&offset), "executed again: {}", offset);
                                        open.insert(offset);
                                    }
                                    Admission::Answered => prop_assert!(answered.contains(&offset)),
                                    Admission::Full => {
                                        prop_assert!(!open.is_empty(), "stuck for ever");
                                        break;
                                    }
                                }
                            }
                            window.read_to(Position(offset + 1));
                        }
                    }
                    Step::Settle(nth) if !open.is_empty() => {
                        let offset = *open.iter().nth(nth % open.len()).unwrap();
                        open.remove(&offset);
                        answered.insert(offset);
                        window.settle(Offset(offset));
                    }
                    Step::Settle(_) => {}
                    Step::Restart => {
                        let (position, notes) = (window.position(), window.notes());
                        window = JobsWindow::new(position, limit(limit_));
                        prop_assert_eq!(window.restore(position, &notes), Ok(()));
                        open.clear();
                    }
                }
                let position = window.position();
                prop_assert!(decode(position, &window.notes()).unwrap().len() < limit_.max(2));
                prop_assert!(jobs.range(..position.0).all(|job| answered.contains(job)), "left out");
                prop_assert_eq!(window.in_hand(), open.len());
            }
        }

        #[test]
        fn notes_survive_the_way_through_a_commit(position in 0..=u64::MAX / 2, gaps in proptest::collection::vec(0..=u64::MAX / 4_096, 0..300)) {
            let offsets: BTreeSet<Offset> = gaps.iter().scan(position, |at, gap| { *at += gap; Some(Offset(*at)) }).collect();
            let notes = encode(Position(position), &offsets);
            prop_assert_eq!(decode(Position(position), &notes).unwrap(), offsets.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn foreign_notes_never_panic(position: u64, notes: Vec<u8>) {
            let mut window = JobsWindow::new(Position(position), limit(5));
            let read = window.restore(Position(position), &notes).is_ok();
            prop_assert!(read || !notes.is_empty());
        }
    }

    #[test]
    fn jobs_that_lie_far_apart_fill_the_window_by_bytes() {
        let mut window = JobsWindow::new(Position(0), limit(100_000));
        let mut offset = 0;
        while window.admit(Offset(offset)) == Admission::Execute {
            window.read_to(Position(offset + 1));
            offset += 1 << 40;
        }
        let oldest = window.open.first().copied().unwrap();
        let open: Vec<_> = window.open.iter().copied().filter(|job| *job != oldest).collect();
        assert!(open.len() > 400);
        open.into_iter().for_each(|job| window.settle(job));
        assert!(window.notes().len() <= MAX_BYTES);
    }
}
