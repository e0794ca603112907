//! The append queue: everything that waits for the next write, in the order in which it was enqueued.
//!
//! Callers encode before they enqueue, so the lock is held for a push only. The writer thread takes the whole queue at
//! once: that is the group commit. Memory is bounded by [`Queue::ready`], which callers wait for *before* they gather
//! records; an append itself never waits and is never refused for lack of room.

use std::{
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nimbus_core::{
    Partition,
    ports::log::{Appending, LogError},
};
use tokio::sync::Notify;

use crate::{
    body,
    item::{Fence, Item, RecordItem, Reply, StateItem, answer, unanswered},
    state::StateKind,
    topic::{Strand, TopicRecord},
};

/// How long a record that nobody waits for may stay in memory before it is written.
pub(crate) const LAZY_DELAY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Waiting {
    items: Vec<Item>,
    urgent: bool,
    lazy_since: Option<Instant>,
    /// The writer shall do its other work (roll, close) although nothing waits.
    nudged: bool,
    closed: bool,
}

/// What the writer gets.
#[derive(Debug)]
pub(crate) struct Taken {
    /// To be given back to [`Queue::done`] when it is written.
    pub(crate) bytes: usize,
    /// How many appends were refused as full.
    pub(crate) refused: u64,
    /// The queue takes no more: write what is here, then end.
    pub(crate) closed: bool,
}

/// The append queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
    /// Enqueued or being written, in bytes.
    bytes: AtomicUsize,
    budget: usize,
    room: Notify,
}

impl Queue {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            work: Condvar::new(),
            bytes: AtomicUsize::new(0),
            budget,
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics while it holds the lock; a poisoned queue would be as good as any other.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are enqueued or being written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether something waits that somebody waits for.
    pub(crate) fn is_urgent(&self) -> bool {
        self.lock().urgent
    }

    /// Waits until the queue is below its budget.
    pub(crate) async fn ready(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the check: a `done` in between is not missed.
            room.as_mut().enable();
            if self.bytes() < self.budget {
                return;
            }
            room.await;
        }
    }

    /// Enqueues records of one partition, unless an append with the same fence has failed.
    pub(crate) fn append<R: TopicRecord>(
        &self,
        partition: Partition,
        records: Vec<R>,
        fence: Option<&Fence>,
    ) -> Appending {
        debug_assert!(!records.is_empty(), "an append has at least one record");
        let (reply, answer) = Reply::new(fence);
        let body = body::encode(&records);
        self.push(Item::Records(RecordItem {
            strand: Strand { topic: R::TOPIC, partition },
            body,
            count: u32::try_from(records.len()).unwrap_or(u32::MAX),
            weight: records.iter().map(R::weight).sum(),
            records: R::wrap(records),
            reply,
        }));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(unanswered())) })
    }

    /// Enqueues a state record that somebody waits for.
    pub(crate) fn append_state(&self, kind: StateKind, record: &[u8]) -> Appending {
        let (reply, answer) = Reply::new(None);
        self.push(Item::State(StateItem { kind, body: body::encode_state(record), reply: Some(reply) }));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(unanswered())) })
    }

    /// Enqueues a state record that nobody waits for.
    pub(crate) fn note_state(&self, kind: StateKind, record: &[u8]) {
        self.push(Item::State(StateItem { kind, body: body::encode_state(record), reply: None }));
    }

    /// Waits until everything enqueued so far is durable.
    pub(crate) async fn flush(&self) -> Result<(), LogError> {
        let (reply, answer) = Reply::new(None);
        self.push(Item::Barrier(reply));
        answer.await.unwrap_or_else(|_| Err(unanswered())).map(|_| ())
    }

    /// [`flush`](Self::flush) for a thread outside of the runtime.
    pub(crate) fn flush_blocking(&self) -> Result<(), LogError> {
        let (reply, answer) = Reply::new(None);
        self.push(Item::Barrier(reply));
        answer.blocking_recv().unwrap_or_else(|_| Err(unanswered())).map(|_| ())
    }

    fn push(&self, item: Item) {
        let bytes = item.bytes();
        let lazy = item.is_note();
        let mut waiting = self.lock();
        if matches!(&item, Item::Records(records) if records.reply.is_fenced()) {
            drop(waiting);
            item.resolve(Err(LogError::Unavailable("an append before it failed".to_owned())));
            return;
        }
        if waiting.closed {
            drop(waiting);
            item.resolve(Err(LogError::Closed));
            return;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.items.push(item);
        let wake = if lazy {
            let first = waiting.lazy_since.is_none();
            waiting.lazy_since.get_or_insert_with(Instant::now);
            first && !waiting.urgent
        } else {
            !mem::replace(&mut waiting.urgent, true)
        };
        drop(waiting);
        if wake {
            self.work.notify_one();
        }
    }

    /// Waits for work, at most until `deadline`, and moves it into `into` (which is empty). Writer thread only.
    ///
    /// When `full` says so, events are refused instead. All of them, and while nobody can enqueue: whoever learns of a
    /// refusal knows that nothing it enqueued later was stored either. `full` itself is asked before that, while everybody
    /// can: it may ask the file system, and one that hangs must stop nobody but the writer.
    pub(crate) fn take(
        &self,
        into: &mut Vec<Item>,
        deadline: Option<Instant>,
        full: impl FnOnce() -> Option<LogError>,
    ) -> Taken {
        self.wait(deadline);
        let full = full();
        let mut waiting = self.lock();
        mem::swap(&mut waiting.items, into);
        waiting.urgent = false;
        waiting.lazy_since = None;
        waiting.nudged = false;
        let bytes = into.iter().map(Item::bytes).sum();
        let mut refused = 0;
        if let Some(error) = full {
            for item in into.extract_if(.., |item| item.is_event()) {
                item.resolve(Err(error.clone()));
                refused += 1;
            }
        }
        Taken { bytes, refused, closed: waiting.closed }
    }

    /// Waits for work, at most until `deadline`. What is there stays: nobody but the writer takes it.
    fn wait(&self, deadline: Option<Instant>) {
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            let lazy_due = waiting.lazy_since.map(|since| since + LAZY_DELAY);
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if waiting.urgent || waiting.closed || waiting.nudged || due(lazy_due) || due(deadline) {
                return;
            }
            let until = [lazy_due, deadline].into_iter().flatten().min();
            waiting = match until {
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.work.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Reports a failed write: `failed` to the appends it held, `unwritten` to those that were enqueued since. Nobody can
    /// enqueue meanwhile, so what lands is a prefix of what was enqueued. Notes stay for the next write.
    pub(crate) fn fail(
        &self,
        replies: impl Iterator<Item = Reply>,
        failed: &LogError,
        mut notes: Vec<Item>,
        unwritten: &LogError,
    ) {
        let mut waiting = self.lock();
        replies.for_each(|reply| answer(reply, Err(failed.clone())));
        self.bytes.fetch_add(notes.iter().map(Item::bytes).sum(), Ordering::Relaxed);
        for item in mem::take(&mut waiting.items) {
            if item.is_note() {
                notes.push(item);
            } else {
                self.bytes.fetch_sub(item.bytes(), Ordering::Relaxed);
                item.resolve(Err(unwritten.clone()));
            }
        }
        waiting.urgent = false;
        waiting.lazy_since = (!notes.is_empty()).then(Instant::now);
        waiting.items = notes;
        drop(waiting);
        self.room.notify_waiters();
    }

    /// Gives back the room of what [`take`](Self::take) returned.
    pub(crate) fn done(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.budget && before - bytes < self.budget {
            self.room.notify_waiters();
        }
    }

    /// Wakes the writer although nothing waits.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.work.notify_one();
    }

    /// Refuses what is left. For when there is no writer any more.
    pub(crate) fn abandon(&self) {
        let left = mem::take(&mut self.lock().items);
        left.into_iter().for_each(|item| item.resolve(Err(LogError::Closed)));
        self.bytes.store(0, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// Takes nothing from now on; what is enqueued will still be written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;
    use crate::testing::{P0, event};

    /// Longer than any of this takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What a hanging file system would be: the question is answered only after somebody else has enqueued.
    #[tokio::test]
    async fn while_the_room_is_asked_for_others_enqueue_and_are_refused_with_the_rest() {
        let queue = Queue::new(1024);
        let before = queue.append(P0, vec![event(1)], None);
        let (mut meanwhile, mut items) = (None, Vec::new());
        let taken = thread::scope(|threads| {
            queue.take(&mut items, None, || {
                let (appended_tx, appended) = mpsc::channel();
                let queue = &queue;
                threads.spawn(move || appended_tx.send(queue.append(P0, vec![event(2)], None)));
                meanwhile =
                    Some(appended.recv_timeout(PATIENCE).expect("the queue is free while the room is asked for"));
                Some(LogError::Full("no room".to_owned()))
            })
        });
        assert_eq!((taken.refused, items.len(), taken.closed), (2, 0, false));
        for refused in [before, meanwhile.unwrap()] {
            assert!(matches!(refused.await, Err(LogError::Full(_))));
        }
        let _after = queue.append(P0, vec![event(3)], None);
        let taken = queue.take(&mut items, None, || None);
        assert_eq!((taken.refused, items.len()), (0, 1), "what comes after the refusal is taken by itself");
    }
}
