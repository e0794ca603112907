//! Appends on their way: one queue per incarnation, so that what lands is a prefix of what was enqueued.
//!
//! An append takes its time, and may fail before or after it landed. Until the failure is reported, whatever was enqueued
//! meanwhile fails as well. A killed incarnation leaves its queue to chance: some of it may still land, and nobody is told.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use nimbus_core::{
    Partition, Position,
    ports::log::{Appender, Appending, LogError},
};
use tokio::sync::{Notify, oneshot};

use super::{Booked, LogStore};
use crate::{life::Life, lock, plan::Bug};

/// How many appends may wait before callers are asked to.
const ROOM: usize = 16;

type Answer = Result<Position, LogError>;

struct Pending<R> {
    partition: Partition,
    records: Vec<R>,
    answer: Option<oneshot::Sender<Answer>>,
    fence: Option<Arc<AtomicBool>>,
}

pub(super) struct Producer<R> {
    life: Arc<Life>,
    queue: Mutex<VecDeque<Pending<R>>>,
    /// Something was put in or taken out.
    moved: Notify,
}

impl<R> fmt::Debug for Producer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("queued", &lock(&self.queue).len()).finish_non_exhaustive()
    }
}

fn behind() -> LogError {
    LogError::Unavailable("an append before it failed".to_owned())
}

impl<R: Booked> Producer<R> {
    pub(super) fn start(life: &Arc<Life>, store: &Arc<LogStore<R>>) -> Arc<Self> {
        let producer = Arc::new(Self { life: Arc::clone(life), queue: Mutex::default(), moved: Notify::new() });
        tokio::spawn(Arc::clone(&producer).run(Arc::clone(store)));
        producer
    }

    /// Cancel safe: it only waits.
    pub(super) async fn ready(&self) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if lock(&self.queue).len() < ROOM {
                return;
            }
            moved.await;
        }
    }

    pub(super) fn append(&self, partition: Partition, records: Vec<R>, fence: Option<Arc<AtomicBool>>) -> Appending {
        let world = &self.life.world;
        world.step("append", self.life.id, u64::from(partition.0));
        if fence.as_ref().is_some_and(|failed| failed.load(Ordering::Relaxed)) {
            return Box::pin(async { Err(behind()) });
        }
        let (answer, answered) = oneshot::channel();
        if world.has(Bug::AcceptBeforeDurable) && world.dice.per_mille(200) {
            lock(&self.queue).push_back(Pending { partition, records, answer: None, fence });
            self.moved.notify_waiters();
            return Box::pin(async { Ok(Position::START) });
        }
        lock(&self.queue).push_back(Pending { partition, records, answer: Some(answer), fence });
        self.moved.notify_waiters();
        Box::pin(async { answered.await.unwrap_or(Err(LogError::Closed)) })
    }

    pub(super) fn appender(self: &Arc<Self>) -> Box<dyn Appender<R>> {
        Box::new(SimAppender { producer: Arc::clone(self), failed: Arc::default() })
    }

    async fn next(&self) -> Pending<R> {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if let Some(pending) = lock(&self.queue).pop_front() {
                self.moved.notify_waiters();
                return pending;
            }
            moved.await;
        }
    }

    async fn run(self: Arc<Self>, store: Arc<LogStore<R>>) {
        let (life, world) = (&self.life, &self.life.world);
        loop {
            let Pending { partition, records, answer, fence } = self.next().await;
            if let Some(until) = life.held_until() {
                tokio::time::sleep_until(until).await;
            }
            world.take_time().await;
            if life.is_dead() && world.dice.per_mille(500) {
                // The connection broke with the rest still on this side of it. Nobody is told: the queue stays as it is.
                let _unanswered = answer;
                return std::future::pending().await;
            }
            let failure = world.fails().then(|| match world.dice.below(3) {
                0 => LogError::Full("simulated".to_owned()),
                1 => LogError::Unavailable("simulated".to_owned()),
                _ => LogError::Ambiguous("simulated".to_owned()),
            });
            let lands = match &failure {
                None => true,
                Some(LogError::Ambiguous(_)) => world.dice.per_mille(500),
                Some(_) => false,
            };
            let end = if lands { store.land(life, partition, records) } else { Position::START };
            if failure.is_none() {
                self.confirm(answer, end);
                continue;
            }
            // Until the failure is reported.
            world.take_time().await;
            let error = failure.unwrap_or(LogError::Closed);
            self.refuse(answer, fence, error);
            let rest: Vec<_> = lock(&self.queue).drain(..).collect();
            self.moved.notify_waiters();
            for Pending { answer, fence, .. } in rest {
                self.refuse(answer, fence, behind());
            }
        }
    }

    /// Answers come back in any order and late; nobody depends on their order.
    fn confirm(&self, answer: Option<oneshot::Sender<Answer>>, end: Position) {
        let Some(answer) = answer else { return };
        let life = Arc::clone(&self.life);
        tokio::spawn(async move {
            life.answer().await;
            life.world.step("appended", life.id, end.0);
            // Whoever asked may be gone.
            drop(answer.send(Ok(end)));
        });
    }

    fn refuse(&self, answer: Option<oneshot::Sender<Answer>>, fence: Option<Arc<AtomicBool>>, error: LogError) {
        self.life.world.step("append failed", self.life.id, 0);
        if let Some(fence) = fence {
            fence.store(true, Ordering::Relaxed);
        }
        if let Some(answer) = answer {
            drop(answer.send(Err(error)));
        }
    }
}

struct SimAppender<R> {
    producer: Arc<Producer<R>>,
    failed: Arc<AtomicBool>,
}

impl<R> fmt::Debug for SimAppender<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimAppender").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl<R: Booked> Appender<R> for SimAppender<R> {
    fn append(&self, partition: Partition, records: Vec<R>) -> Appending {
        self.producer.append(partition, records, Some(Arc::clone(&self.failed)))
    }
}
