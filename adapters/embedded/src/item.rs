//! What waits in the append queue, and how whoever waits for it is answered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nimbus_core::{Position, ports::log::LogError};
use tokio::sync::oneshot;

use crate::{
    state::StateKind,
    topic::{Records, Strand, Topic},
};

/// Set by the first failure among the appends of one appender; nothing is enqueued for it any more.
pub(crate) type Fence = Arc<AtomicBool>;

/// Resolves an append.
#[derive(Debug)]
pub(crate) struct Reply {
    sender: oneshot::Sender<Result<Position, LogError>>,
    fence: Option<Fence>,
}

impl Reply {
    pub(crate) fn new(fence: Option<&Fence>) -> (Self, oneshot::Receiver<Result<Position, LogError>>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender, fence: fence.map(Arc::clone) }, answer)
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fence.as_ref().is_some_and(|fence| fence.load(Ordering::Relaxed))
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
    if let (Err(_), Some(fence)) = (&outcome, &reply.fence) {
        fence.store(true, Ordering::Relaxed);
    }
    drop(reply.sender.send(outcome));
}

impl Item {
    pub(crate) fn is_event(&self) -> bool {
        matches!(self, Self::Records(item) if item.strand.topic == Topic::Events)
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
