//! Who waits for answers: one line for each stream.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::record::Record;

/// Hands answers to a stream.
pub(crate) type Answers = Box<dyn FnMut(&[Record]) + Send>;

struct Line {
    answers: Answers,
    outstanding: usize,
    /// The client sends no more.
    ended: bool,
}

/// The lines of all streams.
#[derive(Default)]
pub(crate) struct Lines {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Line>>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Lines {
    /// Opens a line. It is dropped, and the stream ends with it, when it has [`ended`](Self::ended) and nothing is outstanding.
    pub(crate) fn open(&self, answers: Answers) -> u64 {
        let line = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(line, Line { answers, outstanding: 0, ended: false });
        line
    }

    /// Before events are on their way.
    pub(crate) fn sent(&self, line: u64, events: usize) {
        if let Some(line) = self.lock().get_mut(&line) {
            line.outstanding += events;
        }
    }

    pub(crate) fn ended(&self, line: u64) {
        self.update(line, |line| line.ended = true);
    }

    /// Hands out what came over the channel.
    pub(crate) fn answer(&self, mut records: Vec<Record>) {
        // Stable: what is of one stream stays in its order, and goes to it in one piece.
        records.sort_by_key(Record::line);
        for of_one in records.chunk_by(|one, other| one.line() == other.line()) {
            self.update(of_one[0].line(), |line| {
                line.outstanding = line.outstanding.saturating_sub(of_one.len());
                (line.answers)(of_one);
            });
        }
    }

    fn update(&self, number: u64, update: impl FnOnce(&mut Line)) {
        let mut open = self.lock();
        let Some(line) = open.get_mut(&number) else { return };
        update(line);
        if line.ended && line.outstanding == 0 {
            open.remove(&number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Line>> {
        self.open.lock().expect("nobody panics with it in hand")
    }
}
