//! What was received and not yet acknowledged by the application, in order, and what each acknowledgement means.
//!
//! A position may only advance once everything before it was handed over. So every entry carries a [`Mark`]: what
//! becomes true when it is acknowledged. What is not handed over itself (a duplicate, a bookmark) joins the mark of the
//! entry before it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{record::Record, seqset::SeqSet};
use crate::Incoming;

/// What becomes true when an entry is acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark {
    /// Everything before this position was handed over.
    pub(crate) position: Option<u64>,
    /// Deliveries whose credit this gives back.
    pub(crate) frames: u32,
    /// This event has its outcome.
    pub(crate) settles: Option<u64>,
    /// A gap was handed over.
    pub(crate) gap: Option<GapMark>,
}

/// What becomes true when a gap is acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct GapMark {
    /// The token that belongs to positions from here on.
    pub(crate) token: Bytes,
    /// Unanswered events up to this one may have lost their answer.
    pub(crate) suspects: u64,
}

/// The client's place, as far as the application has acknowledged: what a restart goes on from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) token: Option<Bytes>,
    pub(crate) position: u64,
    pub(crate) answered: SeqSet,
    pub(crate) suspects: u64,
}

#[derive(Debug)]
struct Entry {
    item: Incoming,
    mark: Mark,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    /// Not handed out.
    queue: VecDeque<Entry>,
    /// Handed out, not acknowledged.
    out: VecDeque<Mark>,
    /// The receipt of the first of `out`.
    first_out: u64,
    place: Place,
    /// Gaps that are not acknowledged: until then positions may belong to another log.
    open_gaps: usize,
    /// Credit that acknowledgements have freed since it was taken.
    freed: u32,
}

impl Inbox {
    pub(crate) fn new(place: Place) -> Self {
        Self { queue: VecDeque::new(), out: VecDeque::new(), first_out: 1, place, open_gaps: 0, freed: 0 }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) const fn has_open_gap(&self) -> bool {
        self.open_gaps > 0
    }

    pub(crate) fn has_items(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How many entries are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.out.len()
    }

    /// Whether everything received was acknowledged.
    pub(crate) fn is_clear(&self) -> bool {
        self.queue.is_empty() && self.out.is_empty()
    }

    pub(crate) fn push(&mut self, item: Incoming, mark: Mark) {
        self.open_gaps += usize::from(mark.gap.is_some());
        self.queue.push_back(Entry { item, mark });
    }

    /// Takes note of something that is not handed over.
    pub(crate) fn pass_over(&mut self, position: u64, frames: u32, records: &mut Vec<Record>) {
        let last = self.queue.back_mut().map(|entry| &mut entry.mark).or(self.out.back_mut());
        match last {
            Some(mark) => {
                mark.position = Some(position);
                mark.frames += frames;
            }
            None => self.apply(Mark { position: Some(position), frames, ..Mark::default() }, records),
        }
    }

    /// An event has its outcome ahead of its turn (a call). Its position still waits its turn.
    pub(crate) fn settle_now(&mut self, seq: u64, records: &mut Vec<Record>) {
        self.place.answered.insert(seq);
        records.push(Record::Answered { first: seq, last: seq });
    }

    /// The first Welcome of an outbox: where it begins, and its token.
    pub(crate) fn begin(&mut self, token: Bytes, position: u64, records: &mut Vec<Record>) {
        records.push(Record::Resume { token: token.clone(), position });
        self.place.token = Some(token);
        self.place.position = position;
    }

    /// Hands the next one out, with its receipt.
    pub(crate) fn pop(&mut self) -> Option<(Incoming, u64)> {
        let entry = self.queue.pop_front()?;
        self.out.push_back(entry.mark);
        Some((entry.item, self.last_receipt()))
    }

    /// The receipt of the newest that was handed out.
    pub(crate) fn last_receipt(&self) -> u64 {
        self.first_out + self.out.len() as u64 - 1
    }

    /// The newest receipt that was acknowledged.
    pub(crate) const fn acknowledged_receipt(&self) -> u64 {
        self.first_out - 1
    }

    /// Whether the newest entry carries this position already.
    pub(crate) fn ends_at(&self, position: u64) -> bool {
        self.queue.back().is_some_and(|entry| entry.mark.position == Some(position))
    }

    /// The application is done with everything up to `receipt`.
    pub(crate) fn acknowledge(&mut self, receipt: u64, records: &mut Vec<Record>) {
        while self.first_out <= receipt
            && let Some(mark) = self.out.pop_front()
        {
            self.first_out += 1;
            self.apply(mark, records);
        }
    }

    pub(crate) fn take_freed(&mut self) -> u32 {
        std::mem::take(&mut self.freed)
    }

    pub(crate) const fn freed(&self) -> u32 {
        self.freed
    }

    fn apply(&mut self, mark: Mark, records: &mut Vec<Record>) {
        self.freed += mark.frames;
        if let Some(seq) = mark.settles {
            self.place.answered.insert(seq);
            // Answers in order make one record.
            match records.last_mut() {
                Some(Record::Answered { last, .. }) if *last + 1 == seq => *last = seq,
                _ => records.push(Record::Answered { first: seq, last: seq }),
            }
        }
        if let Some(gap) = mark.gap {
            self.open_gaps -= 1;
            self.place.suspects = gap.suspects;
            self.place.token = Some(gap.token.clone());
            let position = mark.position.unwrap_or(self.place.position);
            self.place.position = position;
            // One record, so that no crash can separate a position from the token and the suspects that belong to it.
            records.push(Record::Gap { token: gap.token, position, suspects: gap.suspects });
        } else if let Some(position) = mark.position {
            // Its record is made once for all of them, see `Machine::take_records`.
            self.place.position = position;
        }
    }
}
