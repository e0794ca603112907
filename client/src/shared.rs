//! What the handles and the connection task share: the machine under one lock, and the ways to wait for it.
//!
//! The lock is held for a few instructions and never across an await. Handles call the machine directly, so that an event
//! costs no message to another task; whoever changed something tells those who wait for it, see [`Shared::with`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::Instant,
};

use crate::{Answer, Error, State, machine::Machine};

/// What waiters look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last event that is durable on the server.
    pub(crate) accepted: u64,
    /// The last event that the outbox has kept.
    pub(crate) recorded_seq: u64,
    /// The last acknowledgement that the outbox has kept.
    pub(crate) recorded_receipt: u64,
    /// The machine has ended.
    pub(crate) ended: bool,
    /// Everything received is acknowledged.
    pub(crate) clear: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) machine: Machine,
    pub(crate) calls: HashMap<u64, oneshot::Sender<Answer>>,
    /// The request stream that waits for a frame.
    pub(crate) frame_waker: Option<Waker>,
    /// Until when the connection task sleeps.
    pub(crate) sleeping_until: Option<Instant>,
    /// The connection task reads nothing because the inbox is full.
    pub(crate) paused: bool,
    /// The connection task is to end.
    pub(crate) stopping: bool,
    /// Events that were in the outbox at the start beyond its capacity.
    pub(crate) debt: usize,
    progress: Progress,
    state_version: (u64, u8),
}

#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Room in the outbox. Closed when no event can be sent any more.
    pub(crate) room: Semaphore,
    /// Wakes the connection task.
    pub(crate) task: Notify,
    /// Wakes a receiver.
    pub(crate) items: Notify,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) keeps_records: bool,
}

impl Shared {
    pub(crate) fn new(machine: Machine, capacity: usize, keeps_records: bool) -> Self {
        let waiting = usize::try_from(machine.unaccepted()).unwrap_or(usize::MAX);
        let progress =
            Progress { accepted: machine.accepted_seq(), recorded_seq: machine.recorded_seq(), ..Progress::default() };
        let state = machine.state();
        let core = Core {
            calls: HashMap::new(),
            frame_waker: None,
            sleeping_until: None,
            paused: false,
            stopping: false,
            debt: waiting.saturating_sub(capacity),
            progress,
            state_version: machine.state_version(),
            machine,
        };
        Self {
            core: Mutex::new(core),
            room: Semaphore::new(capacity.saturating_sub(waiting)),
            task: Notify::new(),
            items: Notify::new(),
            progress: watch::Sender::new(progress),
            state: watch::Sender::new(state),
            keeps_records,
        }
    }

    /// For looking only; use [`with`](Self::with) to change something that others wait for.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic in here would be a fault of this crate, and the machine is still the best that is known.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one step on the machine and tells everybody whom it concerns.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let now = Instant::now();
        let mut core = self.lock();
        let result = step(&mut core, now);

        let freed = core.machine.take_freed_room();
        let settled_debt = freed.min(core.debt);
        core.debt -= settled_debt;
        if freed > settled_debt {
            self.room.add_permits(freed - settled_debt);
        }
        for answer in core.machine.take_call_answers() {
            let unclaimed = match core.calls.remove(&answer.seq.get()) {
                Some(caller) => caller.send(answer).err(),
                None => Some(answer),
            };
            if let Some(answer) = unclaimed {
                core.machine.return_call_answer(answer);
            }
        }
        if core.machine.has_items() {
            self.items.notify_one();
        }
        let ended = core.machine.has_ended();
        if ended || core.machine.is_finishing() {
            self.room.close();
        }
        if ended {
            core.calls.clear();
            self.items.notify_one();
        }
        let progress = Progress {
            accepted: core.machine.accepted_seq(),
            recorded_seq: core.machine.recorded_seq(),
            recorded_receipt: core.machine.recorded_receipt(),
            ended,
            clear: core.machine.inbox_is_clear(),
        };
        if progress != core.progress {
            core.progress = progress;
            self.progress.send_replace(progress);
        }
        let version = core.machine.state_version();
        if version != core.state_version {
            core.state_version = version;
            self.state.send_replace(core.machine.state());
        }
        let deadline = core.machine.next_deadline();
        let too_late = deadline.is_some_and(|at| core.sleeping_until.is_none_or(|until| at < until));
        let resumes = core.paused && !core.machine.is_full();
        if core.stopping || too_late || resumes || core.machine.records_due(now) {
            self.task.notify_one();
        }
        result
    }

    /// Wakes the request stream, if it waits.
    pub(crate) fn wake_frames(&self) {
        let waker = self.lock().frame_waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Why nothing more can be done.
    pub(crate) fn end_reason(&self) -> Error {
        self.lock().machine.failure().cloned().unwrap_or(Error::Closed)
    }
}
