//! One caller's way into a log, which ends with its first failure.
//!
//! The broker keeps the order within a partition only. What lands of an appender shall be a prefix over all partitions, so
//! an append for another partition than those on their way is held back until these are settled. Callers keep to one
//! partition, so that this hardly ever happens.

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use nimbus_core::{
    Partition,
    ports::log::{Appender, Appending, LogError},
};

use crate::{
    append::{Append, refused},
    log::TopicLog,
    parcel::Parcel,
    producer::Producer,
    topic::TopicRecord,
};

fn fenced() -> LogError {
    LogError::Unavailable("an earlier append of the same caller failed; nothing of this one was stored".to_owned())
}

#[derive(Debug, Default)]
struct State {
    failed: bool,
    /// Appends on their way, all of one partition.
    on_their_way: usize,
    partition: Option<Partition>,
    /// For other partitions. Bounded by the budget, as everything that was appended.
    held: VecDeque<(Parcel, Arc<Append>)>,
}

/// Remembers whether an append failed, and lets held ones go.
#[derive(Debug)]
pub(crate) struct Fence {
    state: Mutex<State>,
    producer: Weak<Producer>,
}

impl Fence {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(self: &Arc<Self>, parcel: Parcel, producer: &Producer) -> Appending {
        let mut state = self.lock();
        if state.failed {
            drop(state);
            let error = fenced();
            producer.metrics().append_failed(&error);
            return refused(error);
        }
        let (append, appending) = producer.begin(&parcel, Some(Arc::clone(self)));
        state.held.push_back((parcel, append));
        self.let_go(state);
        appending
    }

    /// One append is settled.
    pub(crate) fn settled(&self, well: bool) {
        let mut state = self.lock();
        state.on_their_way = state.on_their_way.saturating_sub(1);
        state.failed |= !well;
        self.let_go(state);
    }

    /// Sends what may be sent now, in order; after a failure what is held is refused.
    fn let_go(&self, mut state: MutexGuard<'_, State>) {
        let mut cut = Vec::new();
        while let Some((parcel, _)) = state.held.front() {
            let partition = parcel.partition;
            if !state.failed && state.on_their_way > 0 && state.partition != Some(partition) {
                break;
            }
            let Some((parcel, append)) = state.held.pop_front() else { break };
            state.on_their_way += 1;
            state.partition = Some(partition);
            let sent = match self.producer.upgrade() {
                _ if state.failed => Err((parcel.len(), fenced())),
                Some(producer) => producer.send(&parcel, &append),
                None => Err((parcel.len(), LogError::Closed)),
            };
            if let Err((records, error)) = sent {
                state.failed = true;
                cut.push((append, records, error));
            }
        }
        // Settling comes back here, so the lock must not be held.
        drop(state);
        for (append, records, error) in cut {
            append.cut_off(records, error);
        }
    }
}

/// One caller's way into a topic.
pub(crate) struct TopicAppender<R> {
    log: TopicLog<R>,
    fence: Arc<Fence>,
    records: PhantomData<fn() -> R>,
}

impl<R: TopicRecord> TopicAppender<R> {
    pub(crate) fn new(log: TopicLog<R>, producer: &Arc<Producer>) -> Self {
        let fence = Fence { state: Mutex::default(), producer: Arc::downgrade(producer) };
        Self { log, fence: Arc::new(fence), records: PhantomData }
    }
}

impl<R: TopicRecord> fmt::Debug for TopicAppender<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicAppender").field("log", &self.log).field("fence", &self.fence).finish()
    }
}

impl<R: TopicRecord> Appender<R> for TopicAppender<R> {
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        match self.log.parcel(partition, &records) {
            Ok(parcel) => self.fence.append(parcel, self.log.producer()),
            Err(error) => {
                self.fence.lock().failed = true;
                refused(error)
            }
        }
    }
}
