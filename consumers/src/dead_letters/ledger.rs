//! The fold of letters and marks of one partition. Pure: records in, letters out.
//!
//! Copies of a letter (same event identity, same `replay_no`) are one letter. Marks count for all copies, wherever they lie,
//! and it does not matter in which order or how often they come: a purge stands, else the highest replay does.

use std::collections::HashMap;

use nimbus_core::{
    Partition,
    ports::log::Stored,
    result::{DeadLetter, Mark, MarkKind},
};

use super::letter::{Identity, Letter, LetterState};

/// One letter and all its copies.
type Key = (Identity, u32);

/// What one partition says about its letters.
#[derive(Debug)]
pub(super) struct Ledger {
    partition: Partition,
    letters: Vec<Letter>,
    index: HashMap<Key, usize>,
    states: HashMap<Key, LetterState>,
    /// The highest replay of each event that has one.
    replays: HashMap<Identity, u32>,
}

impl Ledger {
    pub(super) fn new(partition: Partition) -> Self {
        let (index, states, replays) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { partition, letters: Vec::new(), index, states, replays }
    }

    /// Takes in one record. They come in the order of the log.
    pub(super) fn admit(&mut self, stored: &Stored<DeadLetter>) {
        let event = &stored.record.event;
        let identity = Identity::new(&event.origin, event.seq);
        let replayed = match stored.record.mark {
            Some(Mark { kind: MarkKind::Replayed { replay_no }, .. }) => replay_no,
            // That it failed again says that it was replayed, also when the mark was never written.
            Some(_) | None => event.replay_no,
        };
        if replayed > 0 {
            let highest = self.replays.entry(identity.clone()).or_default();
            *highest = replayed.max(*highest);
        }
        let key = (identity, event.replay_no);
        if let Some(mark) = stored.record.mark {
            let state = self.states.entry(key).or_insert(LetterState::Open);
            *state = stronger(*state, state_of(mark));
        } else if let Some(at) = self.index.get(&key) {
            self.letters[*at].copies.push(stored.offset);
        } else {
            self.index.insert(key, self.letters.len());
            self.letters.push(Letter::new(self.partition, stored));
        }
    }

    /// Every letter, purged ones too, in the order of the log.
    pub(super) fn into_letters(self) -> Vec<Letter> {
        let Self { mut letters, index, states, replays, .. } = self;
        for (key, at) in index {
            let letter = &mut letters[at];
            letter.state = states.get(&key).copied().unwrap_or(LetterState::Open);
            letter.last_replay_no = replays.get(&key.0).copied().unwrap_or_default();
        }
        letters
    }
}

const fn state_of(mark: Mark) -> LetterState {
    match mark.kind {
        MarkKind::Replayed { replay_no } => LetterState::Replayed { replay_no, at: mark.at },
        MarkKind::Purged => LetterState::Purged { at: mark.at },
    }
}

/// Of two states of one letter the one that stands. Of two equal marks the earlier: that was when it was done.
fn stronger(one: LetterState, other: LetterState) -> LetterState {
    use LetterState::{Open, Purged, Replayed};
    match (one, other) {
        (Open, state) | (state, Open) => state,
        (Purged { at: one }, Purged { at: other }) => Purged { at: one.min(other) },
        (Purged { at }, Replayed { .. }) | (Replayed { .. }, Purged { at }) => Purged { at },
        (Replayed { replay_no: n, at: a }, Replayed { replay_no: m, at: b }) if n == m => {
            Replayed { replay_no: n, at: a.min(b) }
        }
        (Replayed { replay_no: n, .. }, Replayed { replay_no: m, .. }) => {
            if n > m {
                one
            } else {
                other
            }
        }
    }
}
