//! The end of a process as a plan: ordered phases, each with its tasks by name, all within one time limit.
//!
//! Why: tonic's own graceful stop never returns while a stream is open, and a process that ends in any order loses the
//! acknowledgement of work it has done. So everything with a loop registers for the phase in which it has to end, is told
//! by its token when that phase begins, and the next phase waits for it.
//!
//! Left out: signals (the binary's business) and any global state. In the worst case a task does not end: its name is
//! logged every [`NAG_INTERVAL`], its phase is left behind when its share of the limit is used up so that later phases
//! still get theirs, and at the limit the plan ends whatever is left.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, interval_at, sleep_until};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{Instrument, debug_span, info, warn};

/// How often tasks that keep a phase waiting are named in the log.
pub const NAG_INTERVAL: Duration = Duration::from_secs(5);

/// The phases, in the order in which they are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Load balancers are told to send nobody any more.
    NotReady,
    /// Listeners close that can without cutting streams. (The gRPC listener cannot: it refuses new streams instead.)
    StopAccepting,
    /// Streams are told to go elsewhere, and what they are owed is settled.
    DrainStreams,
    /// Executors and routers finish what they have begun, and commit.
    SettleConsumers,
    /// What is appended becomes durable, where closing the backend does not do that by itself.
    FlushLogs,
    /// Stores and connections close.
    CloseBackends,
    /// The admin endpoint stops: until here it can be asked how far things are.
    StopAdmin,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 7] = [
        Self::NotReady,
        Self::StopAccepting,
        Self::DrainStreams,
        Self::SettleConsumers,
        Self::FlushLogs,
        Self::CloseBackends,
        Self::StopAdmin,
    ];

    /// As it stands in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::StopAccepting => "stop_accepting",
            Self::DrainStreams => "drain_streams",
            Self::SettleConsumers => "settle_consumers",
            Self::FlushLogs => "flush_logs",
            Self::CloseBackends => "close_backends",
            Self::StopAdmin => "stop_admin",
        }
    }

    /// By which part of the limit, in percent, this phase is left behind. Counted from the beginning of the shutdown, so
    /// that a phase which ends early leaves its time to the ones after it.
    const fn ends_at_percent(self) -> u32 {
        match self {
            Self::NotReady => 5,
            Self::StopAccepting => 10,
            Self::DrainStreams => 60,
            Self::SettleConsumers => 80,
            Self::FlushLogs => 90,
            Self::CloseBackends => 95,
            Self::StopAdmin => 100,
        }
    }
}

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Someone asked, by this signal or call.
    Asked(&'static str),
    /// A task ended, or panicked, that must live as long as the process.
    TaskEnded(&'static str),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(by) => write!(f, "asked by {by}"),
            Self::TaskEnded(name) => write!(f, "task {name} ended before its time"),
        }
    }
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything ended in its phase.
    Clean,
    /// At least one phase had to be left behind.
    Late,
    /// Cut short by a second signal.
    Forced,
}

/// The result of a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it went.
    pub end: End,
    /// How long it took.
    pub elapsed: Duration,
    /// What had not ended in its phase.
    pub stragglers: Vec<(Phase, &'static str)>,
}

/// The plan. Cloning gives another handle to the same plan.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    requested: CancellationToken,
    cause: Mutex<Option<Cause>>,
    phases: [PhaseState; Phase::ALL.len()],
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct PhaseState {
    begun: CancellationToken,
    tracker: TaskTracker,
    names: Mutex<Vec<(u64, &'static str)>>,
}

impl PhaseState {
    fn names(&self) -> MutexGuard<'_, Vec<(u64, &'static str)>> {
        // The list is whole at every step, so a panic elsewhere does not spoil it.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stragglers(&self) -> Vec<&'static str> {
        self.names().iter().map(|(_, name)| *name).collect()
    }
}

impl Shutdown {
    /// An empty plan.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self, phase: Phase) -> &PhaseState {
        &self.plan.phases[phase as usize]
    }

    /// Cancelled when `phase` begins.
    pub fn token(&self, phase: Phase) -> CancellationToken {
        self.state(phase).begun.child_token()
    }

    /// Makes `phase` wait until the registration is dropped. Dropping it before the phase has begun is taken for a failure
    /// of the task that held it, and begins the shutdown; see [`Registration::finish`].
    pub fn register(&self, phase: Phase, name: &'static str) -> Registration {
        let state = self.state(phase);
        let id = self.plan.next_id.fetch_add(1, Ordering::Relaxed);
        state.names().push((id, name));
        Registration {
            shutdown: self.clone(),
            phase,
            name,
            id,
            begun: state.begun.child_token(),
            finished: false,
            _tracked: state.tracker.token(),
        }
    }

    /// Spawns a task that lives until `phase`, in which it has to end. It gets the token that says so. If it ends, or
    /// panics, before that, the shutdown begins with [`Cause::TaskEnded`].
    pub fn spawn<F>(&self, phase: Phase, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let registration = self.register(phase, name);
        let task = task(registration.token());
        let tracker = &self.state(phase).tracker;
        tracker.spawn(
            async move {
                let _until_the_end = registration;
                task.await;
            }
            .instrument(debug_span!("task", name)),
        );
    }

    /// Asks for the shutdown. The first cause stands; later calls change nothing.
    pub fn request(&self, cause: Cause) {
        self.plan.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.plan.requested.cancel();
    }

    /// Waits until someone has asked for the shutdown. Cancel safe.
    pub async fn requested(&self) -> Cause {
        self.plan.requested.cancelled().await;
        let cause = *self.plan.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.expect("the cause is set before the token is cancelled")
    }

    /// Goes through the phases. Returns after at most `limit`, and at once when `again` completes. Run it once; what is
    /// registered for a phase that has begun already is told so at once and waited for while the phase lasts.
    pub async fn run(&self, limit: Duration, again: impl Future<Output = ()>) -> Outcome {
        let start = Instant::now();
        let mut again = std::pin::pin!(again);
        let mut end = End::Clean;
        let mut stragglers = Vec::new();
        for phase in Phase::ALL {
            let deadline = start + limit * phase.ends_at_percent() / 100;
            let left = tokio::select! {
                biased;
                () = &mut again => {
                    end = End::Forced;
                    stragglers.extend(self.open());
                    break;
                }
                left = self.run_phase(phase, deadline) => left,
            };
            if !left.is_empty() {
                end = End::Late;
                stragglers.extend(left.into_iter().map(|name| (phase, name)));
            }
        }
        Outcome { end, elapsed: start.elapsed(), stragglers }
    }

    /// Begins a phase and waits for its tasks; returns the names of those that are left behind.
    async fn run_phase(&self, phase: Phase, deadline: Instant) -> Vec<&'static str> {
        let start = Instant::now();
        let state = self.state(phase);
        let label = phase.label();
        state.tracker.close();
        state.begun.cancel();
        let mut nag = interval_at(start + NAG_INTERVAL, NAG_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = state.tracker.wait() => {
                    info!(phase = label, elapsed_ms = millis(start.elapsed()), "shutdown phase finished");
                    return Vec::new();
                }
                () = sleep_until(deadline) => {
                    let left = state.stragglers();
                    warn!(phase = label, elapsed_ms = millis(start.elapsed()), ?left, "shutdown phase left behind");
                    return left;
                }
                _ = nag.tick() => {
                    let waiting_for = state.stragglers();
                    warn!(phase = label, elapsed_ms = millis(start.elapsed()), ?waiting_for, "shutdown phase waits");
                }
            }
        }
    }

    fn open(&self) -> Vec<(Phase, &'static str)> {
        let of = |phase| self.state(phase).stragglers().into_iter().map(move |name| (phase, name));
        Phase::ALL.into_iter().flat_map(of).collect()
    }
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps a phase waiting for as long as it lives.
#[derive(Debug)]
pub struct Registration {
    shutdown: Shutdown,
    phase: Phase,
    name: &'static str,
    id: u64,
    begun: CancellationToken,
    finished: bool,
    _tracked: TaskTrackerToken,
}

impl Registration {
    /// Cancelled when the phase begins.
    pub fn token(&self) -> CancellationToken {
        self.begun.clone()
    }

    /// Ends the registration without being a failure, also before the phase has begun.
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let state = self.shutdown.state(self.phase);
        state.names().retain(|(id, _)| *id != self.id);
        // Asked of the phase itself: whoever holds our own token may have cancelled it.
        if !self.finished && !state.begun.is_cancelled() {
            self.shutdown.request(Cause::TaskEnded(self.name));
        }
    }
}

#[cfg(test)]
mod tests;
