//! The router: results in, mailboxes filled, servers told.
//!
//! Partitions are independent: each has one worker with one batch in flight. The mailbox says how far it is and refuses
//! a hole, so it alone decides from where the log is read; the group's commits are a hint for retention and lag.

mod evidence;
#[cfg(test)]
mod tests;
mod worker;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use nimbus_core::{
    ResultRecord,
    ports::{log::ResultLog, mailbox::Mailbox},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

pub use self::evidence::{Evidence, evidence};
use self::worker::Worker;
use crate::{
    ConsumersError, RouterConfig, RouterMetrics,
    group::{self, Crew, GroupConfig, Start, WorkerEnd},
};

/// The router's consumer group.
pub const ROUTER_GROUP: &str = "nimbus-router";

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// What the router needs from the outside.
#[derive(Debug, Clone)]
pub struct RouterPorts {
    /// What is to be brought to the clients.
    pub results: Arc<ResultLog>,
    /// Where it waits for them.
    pub mailbox: Arc<dyn Mailbox>,
}

/// Brings results into the mailbox until `shutdown`, every partition in order and without a hole. Drops `joining` when the group
/// has taken this process in.
///
/// Exactly once: the mailbox folds each record in once, however often a batch is given to it. A mailbox or log that cannot
/// be reached only delays the partitions concerned; nothing is skipped.
///
/// On `shutdown` it lets the batches in flight end, commits, flushes and leaves its group, and completes within
/// [`RouterConfig::drain_limit`] plus half a second. Dropping it instead loses nothing.
///
/// # Errors
/// [`ConsumersError`]: the results log is damaged, is not the one that was folded into the mailbox, or was closed. Not
/// retryable.
pub async fn run_router(
    ports: RouterPorts,
    config: RouterConfig,
    metrics: RouterMetrics,
    joining: impl Send,
    shutdown: CancellationToken,
) -> Result<(), ConsumersError> {
    let group = GroupConfig {
        name: ROUTER_GROUP,
        commit_interval: config.commit_interval,
        lag_interval: LAG_INTERVAL,
        drain_limit: config.drain_limit,
        backoff: config.backoff,
        early: false,
    };
    let crew = RouterCrew { ports: ports.clone(), config, metrics: metrics.clone() };
    let span = info_span!("router", group = ROUTER_GROUP);
    group::run(ports.results, crew, group, metrics.group, joining, shutdown).instrument(span).await
}

struct RouterCrew {
    ports: RouterPorts,
    config: RouterConfig,
    metrics: RouterMetrics,
}

impl Crew<ResultRecord> for RouterCrew {
    fn work(&mut self, start: Start<ResultRecord>) -> BoxFuture<'static, WorkerEnd> {
        let span = info_span!("partition", partition = %start.partition);
        let worker = Worker::new(self.ports.clone(), self.config.clone(), self.metrics.clone(), start);
        Box::pin(worker.work().instrument(span))
    }
}
