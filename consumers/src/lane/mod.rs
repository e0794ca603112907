//! The executor runtime: events in, results out.
//!
//! Two consumer groups read all events, one per lane, and each answers the events of its lane (one that no executor of this process
//! is in passes all of it over unread: `worker/passing.rs`). Within a lane every owned
//! partition has one worker task. `worker.rs` follows an event through; the pure parts are `clients.rs` (who runs, who
//! waits), `tracker.rs` and `window.rs` (what may be committed) and `attempt.rs` (what follows from an attempt).

mod appends;
mod attempt;
mod clients;
mod cx;
mod fence;
mod gauges;
mod lanes;
mod parts;
mod run;
mod schedule;
#[cfg(test)]
mod tests;
mod tracker;
mod varint;
mod window;
mod work;
mod worker;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use nimbus_core::{
    Event, Lane,
    clock::{Clock, UnixMillis},
    ports::log::{DeadLetterLog, EventLog, ResultLog},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

pub use self::fence::keep_panics_of_executors;
use self::{
    cx::PartitionCx,
    schedule::{Jobs, Ordered},
    worker::Worker,
};
use crate::{
    Catalogue, ConsumersError, ExecutorConfig, ExecutorMetrics,
    group::{self, Crew, GroupConfig, Start, WorkerEnd},
    metrics::{ExecutorMeters, LaneMeters},
};

/// The consumer group of the ordered lane.
pub const ORDERED_GROUP: &str = "nimbus-ordered";
/// The consumer group of the jobs lane.
pub const JOBS_GROUP: &str = "nimbus-jobs";

/// What the executor runtime needs from the outside.
#[derive(Debug, Clone)]
pub struct ExecutorPorts {
    /// What is to be executed.
    pub events: Arc<EventLog>,
    /// Where the answers go.
    pub results: Arc<ResultLog>,
    /// Where events go that failed for good.
    pub dead_letters: Arc<DeadLetterLog>,
    /// For deadlines and time stamps.
    pub clock: Arc<dyn Clock>,
}

/// What all workers of this process share.
#[derive(Debug)]
struct Runtime {
    ports: ExecutorPorts,
    catalogue: Arc<Catalogue>,
    config: ExecutorConfig,
    executors: Arc<[ExecutorMeters]>,
    started: UnixMillis,
}

impl Runtime {
    /// Whether the lane can have anything to answer. The ordered lane always can: it answers for names nobody knows.
    fn has_work(&self, lane: Lane) -> bool {
        lane == Lane::Ordered || self.catalogue.serves(lane)
    }

    /// Whether events of the lane may be taken before they are durable. Jobs take longer than that.
    fn begins_early(&self, lane: Lane) -> bool {
        lane == Lane::Ordered && self.catalogue.has_pure(lane)
    }
}

/// Executes events until `shutdown`: both lanes, all partitions that this process gets. Drops `joining` when the groups of both
/// lanes have taken this process in.
///
/// Promises at least one terminal answer in the results log for every event that it commits past, and in the ordered lane
/// the answers of a client in the order of its events; copies are the mailbox's fold to drop. Does not promise that an
/// event is executed only once. Retries what passes: logs that are full or cannot be reached only delay it.
///
/// On `shutdown` it takes nothing more, lets the attempts under way end, commits, flushes and leaves its groups, and
/// completes within [`ExecutorConfig::drain_limit`] plus half a second. Dropping it instead abandons everything in hand,
/// which is executed again later; nothing is lost.
///
/// # Errors
/// [`ConsumersError`]: the logs do not fit together, or one is damaged or closed. Not retryable.
pub async fn run_executors(
    ports: ExecutorPorts,
    catalogue: Arc<Catalogue>,
    config: ExecutorConfig,
    metrics: ExecutorMetrics,
    joining: impl Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Result<(), ConsumersError> {
    let (events, results) = (ports.events.partitions().len(), ports.results.partitions().len());
    if events != results {
        return Err(ConsumersError::PartitionMismatch { events, results });
    }
    let executors = metrics.executors(&catalogue);
    let started = ports.clock.now();
    let runtime = Arc::new(Runtime { ports, catalogue, config, executors, started });
    // One lane without the other would answer only some of the events: they end together.
    let stop = shutdown.child_token();
    let joining = Arc::new(joining);
    let mut lanes = JoinSet::new();
    for (lane, name) in [(Lane::Ordered, ORDERED_GROUP), (Lane::Jobs, JOBS_GROUP)] {
        let crew = LaneCrew { runtime: Arc::clone(&runtime), lane, meters: metrics.lane(lane) };
        let config = GroupConfig {
            name,
            commit_interval: runtime.config.commit_interval,
            lag_interval: runtime.config.lag_interval,
            drain_limit: runtime.config.drain_limit,
            backoff: runtime.config.log_backoff,
            early: runtime.begins_early(lane),
        };
        let events = Arc::clone(&runtime.ports.events);
        let member = group::run(events, crew, config, metrics.group(lane), Arc::clone(&joining), stop.clone());
        let span = info_span!("lane", group = name, instance = %runtime.config.instance);
        lanes.spawn(member.instrument(span));
    }
    drop(joining);
    let mut outcome = Ok(());
    while let Some(ended) = lanes.join_next().await {
        stop.cancel();
        match ended {
            Ok(ended) => outcome = outcome.and(ended),
            Err(panic) => outcome = outcome.and(Err(ConsumersError::Panicked(panic))),
        }
    }
    outcome
}

struct LaneCrew {
    runtime: Arc<Runtime>,
    lane: Lane,
    meters: LaneMeters,
}

impl Crew<Event> for LaneCrew {
    fn work(&mut self, start: Start<Event>) -> BoxFuture<'static, WorkerEnd> {
        let (runtime, meters) = (Arc::clone(&self.runtime), self.meters.clone());
        let span = info_span!("partition", partition = %start.partition);
        let cx = Arc::new(PartitionCx::new(runtime, self.lane, meters, start.partition, start.stop.clone()));
        match self.lane {
            Lane::Ordered => Box::pin(Worker::<Ordered>::new(cx, start).work().instrument(span)),
            Lane::Jobs => Box::pin(Worker::<Jobs>::new(cx, start).work().instrument(span)),
        }
    }
}
