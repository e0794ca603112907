//! The executor runtime's metrics.

use std::sync::Arc;

use nimbus_core::Lane;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::{Family, MetricConstructor},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{Count, GroupMetrics, Level, help};
use crate::Catalogue;

/// How an event was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// With a result.
    Final,
    /// The executor refused it.
    Rejected,
    /// Its deadline had passed.
    DeadlineExceeded,
    /// The executor called it poison.
    Poison,
    /// Every attempt failed.
    AttemptsExhausted,
    /// The executor panicked.
    Panicked,
    /// The result was too large.
    ResultTooLarge,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Final,
        Self::Rejected,
        Self::DeadlineExceeded,
        Self::Poison,
        Self::AttemptsExhausted,
        Self::Panicked,
        Self::ResultTooLarge,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Rejected => "rejected",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Poison => "poison",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Panicked => "panicked",
            Self::ResultTooLarge => "result_too_large",
        }
    }

    /// Those after which the event is kept as a dead letter.
    pub(crate) const fn is_dead(self) -> bool {
        matches!(self, Self::Poison | Self::AttemptsExhausted | Self::Panicked | Self::ResultTooLarge)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExecutorLabel {
    executor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    executor: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeadLabel {
    reason: &'static str,
}

/// 1 ms to about 65 s.
#[derive(Debug, Clone, Copy)]
struct LatencyBuckets;

impl MetricConstructor<Histogram> for LatencyBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.001, 2.0, 17))
    }
}

#[derive(Debug, Clone, Default)]
struct GroupFamilies {
    partitions: Family<LaneLabel, Level>,
    lag: Family<LaneLabel, Level>,
    commits: Family<LaneLabel, Count>,
    pauses: Family<LaneLabel, Count>,
    restarts: Family<LaneLabel, Count>,
    misreads: Family<LaneLabel, Count>,
    overtaken: Family<LaneLabel, Count>,
    read_failures: Family<LaneLabel, Count>,
}

impl GroupFamilies {
    fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register("nimbus_executor_partitions", help::PARTITIONS, all.partitions.clone());
        registry.register("nimbus_executor_lag_positions", help::LAG, all.lag.clone());
        registry.register("nimbus_executor_commits", help::COMMITS, all.commits.clone());
        registry.register("nimbus_executor_pauses", help::PAUSES, all.pauses.clone());
        registry.register("nimbus_executor_restarts", help::RESTARTS, all.restarts.clone());
        registry.register("nimbus_executor_misreads", help::MISREADS, all.misreads.clone());
        registry.register("nimbus_executor_overtaken", help::OVERTAKEN, all.overtaken.clone());
        registry.register("nimbus_executor_read_failures", help::READ_FAILURES, all.read_failures.clone());
        all
    }

    fn of(&self, lane: LaneLabel) -> GroupMetrics {
        GroupMetrics {
            partitions: self.partitions.get_or_create_owned(&lane),
            lag: self.lag.get_or_create_owned(&lane),
            commits: self.commits.get_or_create_owned(&lane),
            pauses: self.pauses.get_or_create_owned(&lane),
            restarts: self.restarts.get_or_create_owned(&lane),
            misreads: self.misreads.get_or_create_owned(&lane),
            overtaken: self.overtaken.get_or_create_owned(&lane),
            read_failures: self.read_failures.get_or_create_owned(&lane),
        }
    }
}

/// The executor runtime's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ExecutorMetrics {
    groups: GroupFamilies,
    executed: Family<OutcomeLabels, Count>,
    attempts: Family<ExecutorLabel, Count>,
    retries: Family<ExecutorLabel, Count>,
    latency: Family<LaneLabel, Histogram, LatencyBuckets>,
    in_hand: Family<LaneLabel, Level>,
    parked: Level,
    dead_letters: Family<DeadLabel, Count>,
    refused: Count,
    unknown: Count,
    parts: Count,
    append_failures: Count,
}

impl ExecutorMetrics {
    /// Makes and registers them; those whose labels are known show zero from the start, the ones per executor when the
    /// runtime starts.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            groups: GroupFamilies::register(registry),
            executed: Family::default(),
            attempts: Family::default(),
            retries: Family::default(),
            latency: Family::new_with_constructor(LatencyBuckets),
            in_hand: Family::default(),
            parked: Level::default(),
            dead_letters: Family::default(),
            refused: Count::default(),
            unknown: Count::default(),
            parts: Count::default(),
            append_failures: Count::default(),
        };
        registry.register(
            "nimbus_executor_events",
            "Events answered by an executor, or in its place, by outcome",
            metrics.executed.clone(),
        );
        registry.register("nimbus_executor_attempts", "Attempts made", metrics.attempts.clone());
        registry.register("nimbus_executor_retries", "Attempts after the first", metrics.retries.clone());
        registry.register_with_unit(
            "nimbus_executor_latency",
            "From the receipt of an event to its durable answer",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register(
            "nimbus_executor_in_hand",
            "Events taken and not yet durably answered (bounded per partition; then it is read no further)",
            metrics.in_hand.clone(),
        );
        registry.register(
            "nimbus_executor_parked_clients",
            "Clients whose next events were left in the log because they have too many in hand",
            metrics.parked.clone(),
        );
        registry.register("nimbus_executor_dead_letters", "Dead letters by reason", metrics.dead_letters.clone());
        registry.register(
            "nimbus_executor_refused",
            "Events that the server had refused for good and that were answered so",
            metrics.refused.clone(),
        );
        registry.register(
            "nimbus_executor_unknown_names",
            "Events whose name nobody handled in time, answered UNKNOWN_EVENT (or DEADLINE_EXCEEDED, if that came first)",
            metrics.unknown.clone(),
        );
        registry.register("nimbus_executor_parts", "Parts emitted before a result", metrics.parts.clone());
        registry.register(
            "nimbus_executor_append_failures",
            "Appends to the results or the dead letters that failed",
            metrics.append_failures.clone(),
        );
        for lane in [Lane::Ordered, Lane::Jobs] {
            metrics.lane(lane);
        }
        for outcome in Outcome::ALL.into_iter().filter(|outcome| outcome.is_dead()) {
            metrics.dead_letters.get_or_create_owned(&DeadLabel { reason: outcome.label() });
        }
        metrics
    }

    pub(crate) fn group(&self, lane: Lane) -> GroupMetrics {
        self.groups.of(label(lane))
    }

    pub(crate) fn lane(&self, lane: Lane) -> LaneMeters {
        let lane = label(lane);
        self.groups.of(lane);
        LaneMeters {
            latency: self.latency.get_or_create_owned(&lane),
            in_hand: self.in_hand.get_or_create_owned(&lane),
            parked: self.parked.clone(),
            refused: self.refused.clone(),
            unknown: self.unknown.clone(),
            parts: self.parts.clone(),
            append_failures: self.append_failures.clone(),
        }
    }

    /// One set of counters per executor, in the order of the catalogue: looked up here once, never per event.
    pub(crate) fn executors(&self, catalogue: &Catalogue) -> Arc<[ExecutorMeters]> {
        catalogue.names().map(|name| self.executor(name.as_str())).collect()
    }

    fn executor(&self, name: &str) -> ExecutorMeters {
        let label = ExecutorLabel { executor: name.to_owned() };
        let by_outcome = Outcome::ALL.map(|outcome| {
            let label = outcome.label();
            let dead = outcome.is_dead().then(|| self.dead_letters.get_or_create_owned(&DeadLabel { reason: label }));
            let executed = OutcomeLabels { executor: name.to_owned(), outcome: label };
            (self.executed.get_or_create_owned(&executed), dead)
        });
        ExecutorMeters {
            by_outcome,
            attempts: self.attempts.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
        }
    }
}

const fn label(lane: Lane) -> LaneLabel {
    match lane {
        Lane::Ordered => LaneLabel { lane: "ordered" },
        Lane::Jobs => LaneLabel { lane: "jobs" },
    }
}

/// One lane's meters.
#[derive(Debug, Clone)]
pub(crate) struct LaneMeters {
    pub(crate) latency: Histogram,
    pub(crate) in_hand: Level,
    pub(crate) parked: Level,
    pub(crate) refused: Count,
    pub(crate) unknown: Count,
    pub(crate) parts: Count,
    pub(crate) append_failures: Count,
}

/// One executor's meters.
#[derive(Debug)]
pub(crate) struct ExecutorMeters {
    by_outcome: [(Count, Option<Count>); Outcome::ALL.len()],
    pub(crate) attempts: Count,
    pub(crate) retries: Count,
}

impl ExecutorMeters {
    pub(crate) fn ended(&self, outcome: Outcome) {
        let (executed, dead) = &self.by_outcome[outcome as usize];
        executed.inc();
        if let Some(dead) = dead {
            dead.inc();
        }
    }
}
