//! What is counted. Labels are closed: lanes, outcomes, and the executors of the catalogue.

mod executor;
mod router;

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

pub use executor::ExecutorMetrics;
pub(crate) use executor::{ExecutorMeters, LaneMeters, Outcome};
pub use router::RouterMetrics;

type Count = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;

/// The counters of one consumer group's member.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupMetrics {
    pub(crate) partitions: Level,
    pub(crate) lag: Level,
    pub(crate) commits: Count,
    pub(crate) pauses: Count,
    pub(crate) restarts: Count,
    pub(crate) misreads: Count,
    pub(crate) overtaken: Count,
    pub(crate) read_failures: Count,
}

/// Help texts, shared by the lanes and the router.
mod help {
    pub(super) const PARTITIONS: &str = "Partitions owned";
    pub(super) const LAG: &str = "Positions between the ends of the owned partitions and what is finished of them";
    pub(super) const COMMITS: &str = "Positions committed";
    pub(super) const PAUSES: &str = "How often a partition was read no further because its queue of 2 batches was full";
    pub(super) const RESTARTS: &str = "Partitions given up after a failure and read again from their commit";
    pub(super) const MISREADS: &str =
        "Batches that did not begin where the one before ended, and were dropped and read again";
    pub(super) const OVERTAKEN: &str =
        "How often retention passed records that were not finished: anything above 0 is a loss";
    pub(super) const READ_FAILURES: &str = "Failed tries to join the group or to read";
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::Catalogue;

    #[test]
    fn everything_shows_zero_before_the_first_event() {
        let mut registry = Registry::default();
        let metrics = ExecutorMetrics::register(&mut registry);
        RouterMetrics::register(&mut registry);
        metrics.executors(&Catalogue::try_new(nimbus_executors::builtin()).unwrap());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "nimbus_executor_events_total{executor=\"sq\",outcome=\"attempts_exhausted\"} 0",
            "nimbus_executor_dead_letters_total{reason=\"panicked\"} 0",
            "nimbus_executor_in_hand{lane=\"jobs\"} 0",
            "nimbus_executor_lag_positions{lane=\"ordered\"} 0",
            "nimbus_executor_latency_seconds_count{lane=\"ordered\"} 0",
            "nimbus_router_holes_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
