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
    ports::log::{Appending, Decision, Fate, LogError},
};
use tokio::sync::Notify;

use crate::{
    body,
    item::{Item, RecordItem, Reply, Standing, StateItem, Terms, answer, show_events, unanswered},
    shared::Shelves,
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
    standing: Standing,
    /// While the writer rests and no record waits: where the next record of each strand will be, by [`Strand::index`].
    resting_at: Option<Vec<u64>>,
    /// Of events among the items that were shown already.
    shown: Option<Decision>,
    /// Events were refused when the items were taken last.
    full: bool,
    /// How many results wait.
    results: u64,
    /// The writer waits for so many of them; nothing else that is enqueued wakes it.
    awaited: Option<u64>,
}

/// What the writer gets.
#[derive(Debug)]
pub(crate) struct Taken {
    /// To be given back to [`Queue::done`] when it is written.
    pub(crate) bytes: usize,
    /// What becomes of events that were shown when they were enqueued, if there are any.
    pub(crate) shown: Option<Decision>,
    /// How many results there are.
    pub(crate) results: u64,
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

    /// Enqueues records of one partition, unless an append with the same fence has failed. Events are shown to who wants them
    /// early, if the writer has nothing else to do: while it wakes up, they can begin.
    pub(crate) fn append<R: TopicRecord>(
        &self,
        shelves: &Shelves,
        partition: Partition,
        records: Vec<R>,
        terms: Terms,
    ) -> Appending {
        debug_assert!(!records.is_empty(), "an append has at least one record");
        let (reply, answer) = Reply::new(terms);
        let body = body::encode(&records);
        let item = Item::Records(RecordItem {
            strand: Strand { topic: R::TOPIC, partition },
            body,
            count: u32::try_from(records.len()).unwrap_or(u32::MAX),
            weight: records.iter().map(R::weight).sum(),
            records: R::wrap(records),
            reply,
        });
        self.push(item, Some(shelves));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(unanswered())) })
    }

    /// Enqueues a state record that somebody waits for.
    pub(crate) fn append_state(&self, kind: StateKind, record: &[u8]) -> Appending {
        let (reply, answer) = Reply::new(Terms::default());
        self.push(Item::State(StateItem { kind, body: body::encode_state(record), reply: Some(reply) }), None);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(unanswered())) })
    }

    /// Enqueues a state record that nobody waits for.
    pub(crate) fn note_state(&self, kind: StateKind, record: &[u8]) {
        self.push(Item::State(StateItem { kind, body: body::encode_state(record), reply: None }), None);
    }

    /// Waits until everything enqueued so far is durable.
    pub(crate) async fn flush(&self) -> Result<(), LogError> {
        let (reply, answer) = Reply::new(Terms::default());
        self.push(Item::Barrier(reply), None);
        answer.await.unwrap_or_else(|_| Err(unanswered())).map(|_| ())
    }

    /// [`flush`](Self::flush) for a thread outside of the runtime.
    pub(crate) fn flush_blocking(&self) -> Result<(), LogError> {
        let (reply, answer) = Reply::new(Terms::default());
        self.push(Item::Barrier(reply), None);
        answer.blocking_recv().unwrap_or_else(|_| Err(unanswered())).map(|_| ())
    }

    fn push(&self, mut item: Item, shelves: Option<&Shelves>) {
        let bytes = item.bytes();
        let lazy = item.is_note();
        let mut waiting = self.lock();
        if let Item::Records(records) = &item
            && let Some(refusal) = records.reply.refusal(waiting.standing)
        {
            drop(waiting);
            item.resolve(Err(refusal));
            return;
        }
        if waiting.closed {
            drop(waiting);
            item.resolve(Err(LogError::Closed));
            return;
        }
        if let (Item::Records(item), Some(shelves)) = (&mut item, shelves)
            && let Some(next) = waiting.resting_at.take()
            && !waiting.full
        {
            let (decision, fate) = Fate::undecided();
            let base = next[item.strand.index(shelves.events.len())];
            waiting.shown = show_events(&mut item.records, item.strand, base, shelves, &fate).then_some(decision);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.results += item.results();
        waiting.items.push(item);
        let wake = if let Some(awaited) = waiting.awaited {
            waiting.urgent |= !lazy;
            let enough = waiting.results >= awaited;
            if enough {
                waiting.awaited = None;
            }
            enough
        } else if lazy {
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
    ///
    /// While it waits, events may be shown as soon as they are enqueued, if it is told where the `next` record of each strand
    /// will be.
    pub(crate) fn take(
        &self,
        into: &mut Vec<Item>,
        deadline: Option<Instant>,
        next: Option<&[u64]>,
        shelves: &Shelves,
        full: impl FnOnce() -> Option<LogError>,
    ) -> Taken {
        self.wait(deadline, next);
        self.take_all(into, shelves, full)
    }

    /// [`take`](Self::take) without waiting for more than `results` of them, at most until `deadline`. Says with it whether they
    /// came.
    pub(crate) fn take_results(
        &self,
        into: &mut Vec<Item>,
        results: u64,
        deadline: Instant,
        shelves: &Shelves,
        full: impl FnOnce() -> Option<LogError>,
    ) -> (Taken, bool) {
        let came = self.wait_for_results(results, deadline);
        (self.take_all(into, shelves, full), came)
    }

    fn take_all(&self, into: &mut Vec<Item>, shelves: &Shelves, full: impl FnOnce() -> Option<LogError>) -> Taken {
        let full = full();
        let mut waiting = self.lock();
        mem::swap(&mut waiting.items, into);
        let results = mem::take(&mut waiting.results);
        waiting.urgent = false;
        waiting.lazy_since = None;
        let bytes = into.iter().map(Item::bytes).sum();
        let mut shown = waiting.shown.take();
        let mut refused = 0;
        waiting.full = full.is_some();
        if let Some(error) = full {
            let taken_back = shown.take().is_some();
            if taken_back {
                shelves.take_back_events();
                waiting.standing.0 += 1;
            }
            for item in into.extract_if(.., |item| item.is_event() || taken_back && item.is_answer()) {
                refused += u64::from(item.is_event());
                item.resolve(Err(error.clone()));
            }
        }
        Taken { bytes, shown, results, refused, closed: waiting.closed }
    }

    /// Waits for work, at most until `deadline`. What is there stays: nobody but the writer takes it.
    fn wait(&self, deadline: Option<Instant>, next: Option<&[u64]>) {
        let mut waiting = self.lock();
        if waiting.items.iter().all(Item::is_note) {
            waiting.resting_at = next.map(<[u64]>::to_vec);
        }
        loop {
            let now = Instant::now();
            let lazy_due = waiting.lazy_since.map(|since| since + LAZY_DELAY);
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if waiting.urgent || waiting.closed || waiting.nudged || due(lazy_due) || due(deadline) {
                waiting.resting_at = None;
                waiting.nudged = false;
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

    fn wait_for_results(&self, results: u64, deadline: Instant) -> bool {
        let mut waiting = self.lock();
        waiting.awaited = Some(results);
        loop {
            let now = Instant::now();
            if waiting.results >= results || waiting.closed || now >= deadline {
                waiting.awaited = None;
                return waiting.results >= results;
            }
            let wait = deadline.saturating_duration_since(now);
            waiting = self.work.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How often events were taken back.
    pub(crate) fn standing(&self) -> Standing {
        self.lock().standing
    }

    /// Reports a failed write: `failed` to the appends it held, `unwritten` to those that were enqueued since. Nobody can
    /// enqueue meanwhile, so what lands is a prefix of what was enqueued. Notes stay for the next write. With `taken_back`
    /// events that were shown early are gone, and so is everything that follows from them: what is enqueued, and what will
    /// be.
    pub(crate) fn fail(
        &self,
        replies: impl Iterator<Item = Reply>,
        failed: &LogError,
        mut notes: Vec<Item>,
        unwritten: &LogError,
        taken_back: bool,
    ) {
        let mut waiting = self.lock();
        debug_assert!(waiting.shown.is_none(), "nothing is shown when it is enqueued while the writer writes");
        waiting.standing.0 += u64::from(taken_back);
        waiting.results = 0;
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
    use std::{
        collections::VecDeque,
        sync::{Arc, mpsc},
        thread,
    };

    use super::*;
    use nimbus_core::{Offset, Position};

    use crate::{
        members::Member,
        shelf::Shelf,
        testing::{P0, dead_letter, event},
    };

    /// Where nobody looks.
    fn no_shelves() -> Shelves {
        let shelf = Shelf::new(P0, 0, 7, VecDeque::new());
        Shelves { events: vec![shelf], results: Vec::new(), dead_letters: Vec::new() }
    }

    /// Longer than any of this takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// What a hanging file system would be: the question is answered only after somebody else has enqueued.
    #[tokio::test]
    async fn while_the_room_is_asked_for_others_enqueue_and_are_refused_with_the_rest() {
        let queue = Queue::new(1024);
        let shelves = no_shelves();
        let before = queue.append(&shelves, P0, vec![event(1)], Terms::default());
        let (mut meanwhile, mut items) = (None, Vec::new());
        let taken = thread::scope(|threads| {
            queue.take(&mut items, None, Some(&[0]), &shelves, || {
                let (appended_tx, appended) = mpsc::channel();
                let (queue, shelves) = (&queue, &shelves);
                threads.spawn(move || appended_tx.send(queue.append(shelves, P0, vec![event(2)], Terms::default())));
                meanwhile =
                    Some(appended.recv_timeout(PATIENCE).expect("the queue is free while the room is asked for"));
                Some(LogError::Full("no room".to_owned()))
            })
        });
        assert_eq!((taken.refused, items.len(), taken.closed), (2, 0, false));
        for refused in [before, meanwhile.unwrap()] {
            assert!(matches!(refused.await, Err(LogError::Full(_))));
        }
        let _after = queue.append(&shelves, P0, vec![event(3)], Terms::default());
        let taken = queue.take(&mut items, None, Some(&[0]), &shelves, || None);
        assert_eq!((taken.refused, items.len()), (0, 1), "what comes after the refusal is taken by itself");
    }

    /// An event that was shown while the writer rested, and is refused when it wakes up.
    #[tokio::test]
    async fn an_event_that_was_shown_when_it_was_enqueued_is_refused_with_what_was_answered_to_it() {
        let queue = Queue::new(1024);
        let shelves = no_shelves();
        let member = Arc::new(Member::new(1, 1));
        shelves.events[0].watch(&member, Position(7), true);
        let answering = Terms { standing: Some(queue.standing()), ..Terms::default() };
        let (mut items, mut answer) = (Vec::new(), None);
        let (taken, event) = thread::scope(|threads| {
            let writer = threads.spawn(|| {
                queue.take(&mut items, None, Some(&[7, 0]), &shelves, || {
                    let shown = shelves.events[0].early(Position(7)).expect("it is shown");
                    assert_eq!((shown.records[0].offset, shown.next), (Offset(7), Position(8)));
                    answer =
                        Some((queue.append(&shelves, P0, vec![dead_letter(1)], answering.clone()), shown.provisional));
                    Some(LogError::Full("no room".to_owned()))
                })
            });
            while queue.lock().resting_at.is_none() {
                thread::yield_now();
            }
            let event = queue.append(&shelves, P0, vec![event(1)], Terms::default());
            (writer.join().expect("it does not panic"), event)
        });
        let (answer, fate) = answer.expect("the event was shown");
        assert_eq!((taken.refused, items.len()), (1, 0));
        for refused in [event, answer] {
            assert!(matches!(refused.await, Err(LogError::Full(_))));
        }
        assert!(!fate.expect("it was not durable").is_durable().await);
        assert!(shelves.events[0].early(Position(7)).is_none());
        let late = queue.append(&shelves, P0, vec![dead_letter(1)], answering).await;
        assert!(matches!(late, Err(LogError::Unavailable(_))), "{late:?}");
    }
}
