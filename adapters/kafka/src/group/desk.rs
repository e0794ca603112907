//! What lies between a member's thread and the consumer's user.
//!
//! A lock that is held for moments. Bounded: one batch for each partition, two events of the group for each, one commit
//! for each.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use nimbus_core::{
    Partition, Position,
    ports::log::{Batch, Committed, ConsumerEvent, LogError, LogRecord},
};
use tokio::sync::{Notify, futures::Notified, watch};

use super::{
    bell::Bell,
    commits::Commits,
    seat::{Gathered, Owner, Seat, Task},
};
use crate::{metrics::Metrics, topic::Topic};

#[derive(Debug)]
enum Control {
    Assigned { partition: Partition, committed: Committed },
    Revoked { partition: Partition },
}

#[derive(Debug)]
struct State<R> {
    controls: VecDeque<Control>,
    /// Partitions with something read ahead; what was turned away from meanwhile is passed over.
    ready: VecDeque<Partition>,
    seats: Vec<Seat<R>>,
    /// Trouble of the group as a whole, told once.
    trouble: Option<LogError>,
    commits: Commits,
    left: bool,
}

impl<R> State<R> {
    fn seat(&mut self, partition: Partition) -> Option<&mut Seat<R>> {
        self.seats.get_mut(partition.0 as usize)
    }
}

#[derive(Debug)]
pub(super) struct Desk<R> {
    state: Mutex<State<R>>,
    news: Notify,
    commit_news: Notify,
    joined: watch::Sender<bool>,
    bell: Bell,
    topic: Topic,
    metrics: Metrics,
}

/// For the consumer's user.
impl<R: LogRecord> Desk<R> {
    pub(super) fn new(partitions: usize, bell: Bell, topic: Topic, metrics: Metrics) -> Self {
        let state = State {
            controls: VecDeque::new(),
            ready: VecDeque::new(),
            seats: (0..partitions).map(|_| Seat::new()).collect(),
            trouble: None,
            commits: Commits::default(),
            left: false,
        };
        let (news, commit_news, joined) = (Notify::new(), Notify::new(), watch::Sender::new(false));
        Self { state: Mutex::new(state), news, commit_news, joined, bell, topic, metrics }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    pub(super) fn commit_news(&self) -> Notified<'_> {
        self.commit_news.notified()
    }

    /// Whether the group has taken this member in.
    pub(super) fn joined(&self) -> watch::Receiver<bool> {
        self.joined.subscribe()
    }

    /// What comes next, if anything is there.
    pub(super) fn take(&self) -> Option<Result<ConsumerEvent<R>, LogError>> {
        let mut state = self.lock();
        if let Some(control) = state.controls.pop_front() {
            return Some(Ok(match control {
                Control::Assigned { partition, committed } => ConsumerEvent::Assigned { partition, committed },
                Control::Revoked { partition } => ConsumerEvent::Revoked { partition },
            }));
        }
        if let Some(trouble) = state.trouble.take() {
            return Some(Err(trouble));
        }
        while let Some(partition) = state.ready.pop_front() {
            let Some(seat) = state.seat(partition) else { continue };
            let Some(found) = seat.waiting.take() else { continue };
            if matches!(found, Err(LogError::Unavailable(_))) {
                // Read again from where it was: nothing is jumped over.
                let next = seat.next;
                seat.turn_to(next);
            }
            let more = std::mem::take(&mut seat.more) || found.is_err();
            drop(state);
            self.metrics.waiting_batches.dec();
            // What comes into a partition's queue that was empty rings by itself.
            if more {
                self.bell.ring();
            }
            return Some(found.map(|batch| self.handed(batch)));
        }
        None
    }

    fn handed(&self, batch: Batch<R>) -> ConsumerEvent<R> {
        self.metrics.read_batches[self.topic.index()].inc();
        self.metrics.read_records[self.topic.index()].inc_by(batch.records.len() as u64);
        ConsumerEvent::Records(batch)
    }

    /// Does something with a seat, and wakes the thread.
    fn with_seat(&self, partition: Partition, change: impl FnOnce(&mut Seat<R>)) {
        if let Some(seat) = self.lock().seat(partition) {
            change(seat);
        }
        self.bell.ring();
    }

    pub(super) fn pause(&self, partition: Partition) {
        self.with_seat(partition, |seat| seat.paused = seat.owner == Owner::Here);
    }

    pub(super) fn resume(&self, partition: Partition) {
        self.with_seat(partition, |seat| seat.paused = false);
    }

    pub(super) fn seek(&self, partition: Partition, position: Position) {
        self.with_seat(partition, |seat| {
            if seat.owner == Owner::Here && seat.turn_to(position) {
                self.metrics.waiting_batches.dec();
            }
        });
    }

    pub(super) fn commit(&self, partition: Partition, committed: Committed) {
        let mut state = self.lock();
        let owned = state.seat(partition).is_some_and(|seat| matches!(seat.owner, Owner::Here | Owner::Leaving));
        if owned {
            state.commits.add(partition, committed);
            drop(state);
            self.bell.ring();
        }
    }

    pub(super) fn release(&self, partition: Partition) {
        self.with_seat(partition, |seat| {
            if matches!(seat.owner, Owner::Leaving | Owner::Lost) {
                seat.owner = Owner::Nobody;
            }
        });
    }

    pub(super) fn commits_so_far(&self) -> u64 {
        self.lock().commits.made()
    }

    pub(super) fn flushed(&self, made: u64) -> Option<Result<(), LogError>> {
        self.lock().commits.outcome(made)
    }

    /// The user is gone.
    pub(super) fn leave(&self) {
        self.lock().left = true;
        self.bell.ring();
    }
}

/// For the thread.
impl<R: LogRecord> Desk<R> {
    pub(super) fn has_left(&self) -> bool {
        self.lock().left
    }

    /// The group has taken this member in, and everything that it was given is put down here.
    pub(super) fn take_in(&self) {
        self.joined.send_replace(true);
    }

    /// Whether a partition's former owner has let go of it.
    pub(super) fn is_free(&self, partition: Partition) -> bool {
        self.lock().seat(partition).is_some_and(|seat| seat.owner == Owner::Nobody)
    }

    pub(super) fn assign(&self, partition: Partition, committed: Committed) {
        let mut state = self.lock();
        let Some(seat) = state.seat(partition) else { return };
        seat.owner = Owner::Here;
        seat.paused = false;
        seat.turn_to(committed.position);
        state.controls.push_back(Control::Assigned { partition, committed });
        drop(state);
        self.news.notify_one();
    }

    /// The partition leaves, or is gone already (`lost`).
    pub(super) fn revoke(&self, partition: Partition, lost: bool) {
        let mut state = self.lock();
        let Some(seat) = state.seat(partition).filter(|seat| seat.owner == Owner::Here) else { return };
        seat.owner = if lost { Owner::Lost } else { Owner::Leaving };
        if seat.stop() {
            self.metrics.waiting_batches.dec();
        }
        if lost {
            state.commits.forget(partition);
        }
        state.controls.push_back(Control::Revoked { partition });
        drop(state);
        self.news.notify_one();
    }

    /// Takes a partition away from whoever did not release it in time. Says whether that was so.
    pub(super) fn force(&self, partition: Partition) -> bool {
        let mut state = self.lock();
        // Also what was released in time: a commit that is still tried would come behind those of the next owner.
        state.commits.forget(partition);
        let Some(seat) = state.seat(partition).filter(|seat| seat.owner == Owner::Leaving) else { return false };
        seat.owner = Owner::Lost;
        true
    }

    /// Whether nothing holds a leaving partition back: it was released, and its commits are durable.
    pub(super) fn has_settled(&self, partition: Partition) -> bool {
        let mut state = self.lock();
        let leaving = state.seat(partition).is_some_and(|seat| seat.owner == Owner::Leaving);
        !leaving && !state.commits.involve(partition)
    }

    /// What there is to be read, into `tasks`; of the others it is noted that there may be more behind what waits.
    pub(super) fn tasks(&self, tasks: &mut Vec<Task>) {
        tasks.clear();
        let mut state = self.lock();
        tasks.extend((0..).map(Partition).zip(&mut state.seats).filter_map(|(partition, seat)| seat.task(partition)));
    }

    /// Reading has begun anew, unless it must once more.
    pub(super) fn restarted(&self, task: Task) {
        if let Some(seat) = self.lock().seat(task.partition).filter(|seat| seat.round == task.round) {
            seat.restart = false;
        }
    }

    /// Puts down what was read, unless nobody wants it any more.
    pub(super) fn put(&self, task: Task, found: Result<Gathered<R>, LogError>) {
        let mut state = self.lock();
        let Some(seat) = state.seat(task.partition).filter(|seat| seat.round == task.round) else { return };
        match &found {
            Ok(Gathered { batch, more }) => (seat.next, seat.more) = (batch.next, *more),
            Err(error) => {
                seat.halted = true;
                match error {
                    LogError::Expired { .. } => drop(self.metrics.expired.inc()),
                    LogError::Damaged(_) => drop(self.metrics.damaged.inc()),
                    LogError::Full(_)
                    | LogError::Ambiguous(_)
                    | LogError::Unavailable(_)
                    | LogError::Replaced(_)
                    | LogError::Closed => {}
                }
            }
        }
        if seat.waiting.replace(found.map(|found| found.batch)).is_none() {
            self.metrics.waiting_batches.inc();
        }
        state.ready.push_back(task.partition);
        drop(state);
        self.news.notify_one();
    }

    /// The partition's reading went astray: begin anew behind what was read ahead.
    pub(super) fn read_again(&self, partition: Partition) {
        self.with_seat(partition, |seat| {
            if seat.owner == Owner::Here && !seat.halted {
                seat.round += 1;
                seat.restart = true;
            }
        });
    }

    /// Tells trouble of the group as a whole.
    pub(super) fn tell(&self, trouble: LogError) {
        self.lock().trouble = Some(trouble);
        self.news.notify_one();
    }

    /// Wakes everybody who waits: the log is closed.
    pub(super) fn wake(&self) {
        self.news.notify_one();
        self.commit_news.notify_waiters();
    }

    /// Works on the commits; whoever flushes looks again.
    pub(super) fn with_commits<T>(&self, work: impl FnOnce(&mut Commits, Instant) -> T) -> T {
        let outcome = work(&mut self.lock().commits, Instant::now());
        self.commit_news.notify_waiters();
        outcome
    }
}

impl<R> Drop for Desk<R> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.seats.iter().filter(|seat| seat.waiting.is_some()).count();
        self.metrics.waiting_batches.dec_by(waiting as i64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nimbus_contracts::Sample as _;
    use nimbus_core::{ClientId, Event, Offset, ports::log::Stored};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::group::bell::{Rings, bell};

    const P0: Partition = Partition(0);

    /// Partition 0 is this member's, and its first batch is to be read.
    fn desk() -> (Desk<Event>, Rings, Task) {
        let (bell, rings) = bell();
        let desk = Desk::new(1, bell, Topic::Events, Metrics::register(&mut Registry::default()));
        desk.assign(P0, Committed::default());
        assert!(matches!(desk.take(), Some(Ok(ConsumerEvent::Assigned { .. }))));
        let task = tasks(&desk).pop().expect("a partition that was assigned is read");
        desk.restarted(task);
        (desk, rings, task)
    }

    fn tasks(desk: &Desk<Event>) -> Vec<Task> {
        let mut tasks = Vec::new();
        desk.tasks(&mut tasks);
        tasks
    }

    fn batch(more: bool) -> Result<Gathered<Event>, LogError> {
        let record = Event::sample(&ClientId::try_new("c").unwrap(), 0);
        let records = vec![Stored { offset: Offset(0), record }].into();
        let batch = Batch { partition: P0, from: Position::START, records, next: Position(1), provisional: None };
        Ok(Gathered { batch, more })
    }

    fn rang_when_taken(desk: &Desk<Event>, rings: &Rings) -> bool {
        while rings.wait(Duration::ZERO) {}
        assert!(matches!(desk.take(), Some(Ok(ConsumerEvent::Records(_)))));
        rings.wait(Duration::ZERO)
    }

    #[test]
    fn the_thread_sleeps_on_when_all_that_there_was_is_taken() {
        let (desk, rings, task) = desk();
        desk.put(task, batch(false));
        assert!(!rang_when_taken(&desk, &rings));
        assert_eq!(tasks(&desk).len(), 1, "whatever wakes it, it looks for more");
    }

    #[test]
    fn it_is_woken_for_what_did_not_fit_into_the_batch() {
        let (desk, rings, task) = desk();
        desk.put(task, batch(true));
        assert!(rang_when_taken(&desk, &rings));
    }

    #[test]
    fn it_is_woken_for_what_came_while_the_batch_lay_there() {
        let (desk, rings, task) = desk();
        desk.put(task, batch(false));
        assert!(tasks(&desk).is_empty(), "one batch is read ahead");
        assert!(rang_when_taken(&desk, &rings));
    }

    #[test]
    fn it_is_woken_to_read_again_what_could_not_be_read() {
        let (desk, rings, task) = desk();
        desk.put(task, Err(LogError::Unavailable("no leader".to_owned())));
        while rings.wait(Duration::ZERO) {}
        assert!(matches!(desk.take(), Some(Err(LogError::Unavailable(_)))));
        assert!(rings.wait(Duration::ZERO));
        assert!(tasks(&desk)[0].restart);
    }
}
