//! The router's metrics.

use prometheus_client::{
    metrics::histogram::{Histogram, exponential_buckets},
    registry::{Registry, Unit},
};

use super::{Count, GroupMetrics, help};

/// The router's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RouterMetrics {
    pub(crate) group: GroupMetrics,
    pub(crate) batches: Count,
    pub(crate) records: Count,
    pub(crate) duplicates: Count,
    pub(crate) holes: Count,
    pub(crate) regressions: Count,
    pub(crate) apply_failures: Count,
    pub(crate) apply: Histogram,
}

impl RouterMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            group: GroupMetrics::default(),
            batches: Count::default(),
            records: Count::default(),
            duplicates: Count::default(),
            holes: Count::default(),
            regressions: Count::default(),
            apply_failures: Count::default(),
            apply: Histogram::new(exponential_buckets(0.000_05, 2.0, 17)),
        };
        let group = &metrics.group;
        registry.register("nimbus_router_partitions", help::PARTITIONS, group.partitions.clone());
        registry.register("nimbus_router_lag_positions", help::LAG, group.lag.clone());
        registry.register("nimbus_router_commits", help::COMMITS, group.commits.clone());
        registry.register("nimbus_router_pauses", help::PAUSES, group.pauses.clone());
        registry.register("nimbus_router_restarts", help::RESTARTS, group.restarts.clone());
        registry.register("nimbus_router_misreads", help::MISREADS, group.misreads.clone());
        registry.register("nimbus_router_overtaken", help::OVERTAKEN, group.overtaken.clone());
        registry.register("nimbus_router_read_failures", help::READ_FAILURES, group.read_failures.clone());
        registry.register("nimbus_router_batches", "Batches applied to the mailbox", metrics.batches.clone());
        registry.register("nimbus_router_records", "Records that were new to the mailbox", metrics.records.clone());
        registry.register(
            "nimbus_router_duplicates",
            "Records that the fold dropped: a terminal answer had come before",
            metrics.duplicates.clone(),
        );
        registry.register(
            "nimbus_router_holes",
            "Batches that the mailbox refused because they would have left a hole",
            metrics.holes.clone(),
        );
        registry.register(
            "nimbus_router_regressions",
            "Times the mailbox was found behind where it had been: it lost its memory and was filled again",
            metrics.regressions.clone(),
        );
        registry.register(
            "nimbus_router_apply_failures",
            "Times the mailbox could not take a batch or say how far it is",
            metrics.apply_failures.clone(),
        );
        registry.register_with_unit(
            "nimbus_router_apply",
            "How long the mailbox took for one batch",
            Unit::Seconds,
            metrics.apply.clone(),
        );
        metrics
    }
}
