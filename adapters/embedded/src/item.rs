//! What waits in the append queue, and how whoever waits for it is answered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nimbus_core::{
    Position,
    ports::log::{Fate, LogError},
};
use tokio::sync::oneshot;

use crate::{
    shared::Shelves,
    shelf::numbered,
    state::StateKind,
    topic::{Records, Strand, Topic},
};

/// Set by the first failure among the appends of one appender; nothing is enqueued for it any more.
pub(crate) type Fence = Arc<AtomicBool>;

/// Counts how often the log has taken back events that it had shown early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing(pub(crate) u64);

/// What an append depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// Nothing of the same appender has failed.
    pub(crate) fence: Option<Fence>,
    /// No events were taken back since then.
    pub(crate) standing: Option<Standing>,
}

impl Terms {
    /// An append under these terms has failed: none of the same appender will be made any more.
    pub(crate) fn end(&self) {
        if let Some(fence) = &self.fence {
            fence.store(true, Ordering::Relaxed);
        }
    }
}

/// Resolves an append.
#[derive(Debug)]
pub(crate) struct Reply {
    sender: oneshot::Sender<Result<Position, LogError>>,
    terms: Terms,
}

impl Reply {
    pub(crate) fn new(terms: Terms) -> (Self, oneshot::Receiver<Result<Position, LogError>>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender, terms }, answer)
    }

    /// Why the append must not be made, if so.
    pub(crate) fn refusal(&self, standing: Standing) -> Option<LogError> {
        let why = if self.terms.fence.as_ref().is_some_and(|fence| fence.load(Ordering::Relaxed)) {
            "an append before it failed"
        } else if self.terms.standing.is_some_and(|from| from != standing) {
            "the events that it may follow from were taken back"
        } else {
            return None;
        };
        Some(LogError::Unavailable(why.to_owned()))
    }
}

/// The writer has gone without an answer: it may have written first.
pub(crate) fn unanswered() -> LogError {
    LogError::Ambiguous("the writer of the log is gone".into())
}

/// Records of one append, encoded.
#[derive(Debug)]
pub(crate) struct RecordItem {
    pub(crate) strand: Strand,
    /// Each record with its length in front.
    pub(crate) body: Vec<u8>,
    pub(crate) records: Records,
    pub(crate) count: u32,
    /// What the records weigh in memory, for the tail cache.
    pub(crate) weight: usize,
    pub(crate) reply: Reply,
}

/// Shows events that will be at `base` to who wants them while they are being written. Says whether they are shown, now or
/// already.
pub(crate) fn show_events(records: &mut Records, strand: Strand, base: u64, shelves: &Shelves, fate: &Fate) -> bool {
    match records {
        Records::Shown(_) => true,
        Records::Events(events) => {
            let shelf = &shelves.events[strand.partition.0 as usize];
            let wanted = shelf.wants_early(base);
            if wanted {
                let events = numbered(base, std::mem::take(events));
                shelf.show_early(Arc::clone(&events), fate.clone());
                *records = Records::Shown(events);
            }
            wanted
        }
        Records::Results(_) | Records::DeadLetters(_) => false,
    }
}

/// One state record, encoded.
#[derive(Debug)]
pub(crate) struct StateItem {
    pub(crate) kind: StateKind,
    pub(crate) body: Vec<u8>,
    /// None: a note, kept for the next write when this one fails.
    pub(crate) reply: Option<Reply>,
}

/// Something that waits for the next write.
#[derive(Debug)]
pub(crate) enum Item {
    Records(RecordItem),
    State(StateItem),
    /// Answered when everything before it is durable.
    Barrier(Reply),
}

/// Whoever enqueued it may have gone: then nobody wants the answer. Failures are answered under the queue's lock: nothing of
/// the same appender gets in between the failure and the fence.
pub(crate) fn answer(reply: Reply, outcome: Result<Position, LogError>) {
    if outcome.is_err() {
        reply.terms.end();
    }
    drop(reply.sender.send(outcome));
}

impl Item {
    pub(crate) fn is_event(&self) -> bool {
        matches!(self, Self::Records(item) if item.strand.topic == Topic::Events)
    }

    /// Whether it may follow from events that were shown early.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Records(item) if item.reply.terms.standing.is_some())
    }

    /// How many results it holds.
    pub(crate) fn results(&self) -> u64 {
        match self {
            Self::Records(item) if item.strand.topic == Topic::Results => item.count.into(),
            Self::Records(_) | Self::State(_) | Self::Barrier(_) => 0,
        }
    }

    pub(crate) fn is_note(&self) -> bool {
        matches!(self, Self::State(StateItem { reply: None, .. }))
    }

    pub(crate) fn resolve(self, outcome: Result<Position, LogError>) {
        match self {
            Self::Records(RecordItem { reply, .. })
            | Self::State(StateItem { reply: Some(reply), .. })
            | Self::Barrier(reply) => answer(reply, outcome),
            Self::State(StateItem { reply: None, .. }) => {}
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Records(item) => item.body.len() + item.weight,
            Self::State(item) => item.body.len(),
            Self::Barrier(_) => 0,
        }
    }
}
