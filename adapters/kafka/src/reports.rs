//! Failures that are not told yet.
//!
//! A failed producer takes nothing, and its successor takes a moment to make. Whoever hears of a failure goes on at once,
//! so it is told when the successor is there: until then every append fails, and from then on none does for its sake.

use std::sync::{Arc, Mutex, PoisonError};

use nimbus_core::{Position, ports::log::LogError};
use tokio::sync::oneshot;

use crate::{appender::Fence, budget::Budget, metrics::Metrics};

/// Where the answer of an append goes.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer_tx: oneshot::Sender<Result<Position, LogError>>,
    pub(crate) fence: Option<Arc<Fence>>,
}

impl Reply {
    /// Answers. Nobody may wait for it any more: then only the answer is lost.
    pub(crate) fn tell(self, outcome: Result<Position, LogError>) {
        drop(self.answer_tx.send(outcome));
    }
}

/// What all appends share.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) budget: Budget,
    pub(crate) metrics: Metrics,
    /// Bounded by the budget: each was in it.
    untold: Mutex<Vec<(Reply, LogError)>>,
}

impl Accounts {
    pub(crate) fn new(budget: Budget, metrics: Metrics) -> Self {
        Self { budget, metrics, untold: Mutex::default() }
    }

    pub(crate) fn tell_later(&self, reply: Reply, error: LogError) {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).push((reply, error));
    }

    /// Tells every failure so far.
    pub(crate) fn tell(&self) {
        let untold = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        for (reply, error) in untold {
            reply.tell(Err(error));
        }
    }
}
