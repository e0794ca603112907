//! What all streams of a server share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use nimbus_core::{
    Partition, Position,
    clock::{Clock, UnixMillis},
    ports::{
        authenticator::Authenticator,
        log::{EventLog, ResultLog},
        mailbox::Mailbox,
        notifier::Notifier,
    },
    registry::Registry,
    session::Now,
};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    acks::Acks, config::EdgeConfig, metrics::Metrics, openings::Openings, rate::EventRate, scan::Scanner, share::Shares,
};

/// What the edge needs from the outside.
#[derive(Debug, Clone)]
pub struct EdgePorts {
    /// Where events go.
    pub events: Arc<EventLog>,
    /// Where old results are read.
    pub results: Arc<ResultLog>,
    /// What waits for clients, and who owns them.
    pub mailbox: Arc<dyn Mailbox>,
    /// What happened.
    pub notifier: Arc<dyn Notifier>,
    /// Who is calling.
    pub authenticator: Arc<dyn Authenticator>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Shared by all streams.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ports: EdgePorts,
    pub(crate) config: EdgeConfig,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Arc<Registry>,
    pub(crate) openings: Openings,
    pub(crate) rate: EventRate,
    pub(crate) shares: Shares,
    pub(crate) scanner: Scanner,
    pub(crate) acks: Acks,
    pub(crate) bookmarks: Bookmarks,
    pub(crate) tasks: TaskTracker,
    /// No new streams.
    pub(crate) draining: CancellationToken,
    streams: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(ports: EdgePorts, config: EdgeConfig, metrics: Metrics) -> Arc<Self> {
        let partitions = ports.events.partitions();
        Arc::new(Self {
            registry: Arc::new(Registry::new(partitions)),
            openings: Openings::new(partitions.len(), metrics.openings_waiting.clone()),
            rate: EventRate::new(config.events_per_second),
            shares: Shares::new(config.fair_rate),
            scanner: Scanner::new(Arc::clone(&ports.results), metrics.clone()),
            acks: Acks::default(),
            bookmarks: Bookmarks::new(partitions.len()),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            streams: AtomicUsize::new(0),
            ports,
            config,
            metrics,
        })
    }

    pub(crate) fn now(&self) -> Now {
        Now { instant: Instant::now(), unix: self.unix() }
    }

    fn unix(&self) -> UnixMillis {
        self.ports.clock.now()
    }

    /// A place for one more stream, given back on drop; `None` when there are too many.
    pub(crate) fn admit_stream(self: &Arc<Self>) -> Option<StreamPermit> {
        let before = self.streams.fetch_add(1, Ordering::Relaxed);
        let permit = StreamPermit { shared: Arc::clone(self) };
        (before < self.config.max_streams).then_some(permit)
    }
}

/// One stream's place among those that may be open.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    shared: Arc<Shared>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the checks of how far the mailbox is (rule 20), in the order in which they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct CheckNo(u64);

/// Per partition: every record before a position was put into the inbox of its session, if it has one here. That is what the
/// check found, and a session may only believe a check that began after its own last read: the mailbox may have lost its
/// memory since an earlier one, and then the session has read less than that check had seen.
#[derive(Debug)]
pub(crate) struct Bookmarks {
    found: Vec<Mutex<(CheckNo, Position)>>,
    checks: AtomicU64,
}

impl Bookmarks {
    fn new(partitions: usize) -> Self {
        Self { found: (0..partitions).map(|_| Mutex::default()).collect(), checks: AtomicU64::new(0) }
    }

    fn lock(&self, partition: Partition) -> MutexGuard<'_, (CheckNo, Position)> {
        self.found[partition.0 as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A check begins.
    pub(crate) fn check(&self) -> CheckNo {
        CheckNo(self.checks.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The newest check that has begun.
    pub(crate) fn latest(&self) -> CheckNo {
        CheckNo(self.checks.load(Ordering::Acquire))
    }

    /// What a check found stands, also when it is less than an earlier one found.
    pub(crate) fn set(&self, partition: Partition, check: CheckNo, position: Position) {
        *self.lock(partition) = (check, position);
    }

    /// What was found by a check that began after `read`. To be read *before* the inbox is emptied: what was in the inbox by
    /// then belongs to the bookmark.
    pub(crate) fn get(&self, partition: Partition, read: CheckNo) -> Position {
        let (check, position) = *self.lock(partition);
        if check > read { position } else { Position::START }
    }
}
