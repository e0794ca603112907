//! Counters of the logs on Kafka. Where they count what the embedded log counts, they have its names.

use nimbus_core::ports::log::LogError;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::topic::Topic;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: TopicValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "they are label values as they appear")]
enum TopicValue {
    events,
    results,
    dead_letters,
}

impl From<Topic> for TopicLabel {
    fn from(topic: Topic) -> Self {
        let topic = match topic {
            Topic::Events => TopicValue::events,
            Topic::Results => TopicValue::results,
            Topic::DeadLetters => TopicValue::dead_letters,
        };
        Self { topic }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: AppendFailure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "they are label values as they appear")]
enum AppendFailure {
    full,
    ambiguous,
    unavailable,
    closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RebalanceLabel {
    kind: Rebalance,
}

/// What a rebalance did to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "they are label values as they appear")]
pub(crate) enum Rebalance {
    assigned,
    revoked,
    /// Another member may own it already.
    lost,
    /// It was not released in time.
    forced,
}

/// Counters of the logs on Kafka.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// By [`Topic::index`], as the other arrays.
    pub(crate) appended_records: [Counter; 3],
    pub(crate) appended_bytes: [Counter; 3],
    pub(crate) append_seconds: Histogram,
    pub(crate) queue_bytes: Gauge,
    pub(crate) producer_rebuilds: Counter,
    pub(crate) read_records: [Counter; 3],
    pub(crate) read_batches: [Counter; 3],
    pub(crate) waiting_batches: Gauge,
    pub(crate) reads: Counter,
    pub(crate) expired: Counter,
    pub(crate) damaged: Counter,
    pub(crate) commits: Counter,
    pub(crate) commit_failures: Counter,
    pub(crate) broker_errors: Counter,
    append_failures: Family<ReasonLabel, Counter>,
    rebalances: Family<RebalanceLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("nimbus_log");
        let mut by_topic = |name, unit: Option<Unit>, help| {
            let family = Family::<TopicLabel, Counter>::default();
            match unit {
                Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
                None => registry.register(name, help, family.clone()),
            }
            Topic::ALL.map(|topic| family.get_or_create_owned(&topic.into()))
        };
        let appended_records = by_topic("appended_records", None, "Records made durable");
        let appended_bytes = by_topic("appended", Some(Unit::Bytes), "Record bytes made durable");
        let read_records = by_topic("read_records", None, "Records handed to members of consumer groups");
        let read_batches = by_topic("read_batches", None, "Batches handed to members of consumer groups");

        // 256 µs to 8 s.
        let append_seconds = Histogram::new(exponential_buckets(0.000_256, 2.0, 16));
        let help = "From the call to the broker's answer";
        registry.register_with_unit("append", help, Unit::Seconds, append_seconds.clone());

        let append_failures = Family::<ReasonLabel, Counter>::default();
        registry.register("append_failures", "Appends that failed", append_failures.clone());
        use AppendFailure::{ambiguous, closed, full, unavailable};
        for reason in [full, ambiguous, unavailable, closed] {
            drop(append_failures.get_or_create(&ReasonLabel { reason }));
        }
        let rebalances = Family::<RebalanceLabel, Counter>::default();
        registry.register("rebalanced_partitions", "Partitions that came or went", rebalances.clone());
        use Rebalance::{assigned, forced, lost, revoked};
        for kind in [assigned, revoked, lost, forced] {
            drop(rebalances.get_or_create(&RebalanceLabel { kind }));
        }

        let mut gauge = |name, help| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let queue_bytes = gauge("queue_bytes", "Appended bytes that the broker has not confirmed");
        let waiting_batches = gauge("waiting_batches", "Batches that were read ahead for members of groups");
        let mut counter = |name, help| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            appended_records,
            appended_bytes,
            append_seconds,
            queue_bytes,
            producer_rebuilds: counter("producer_rebuilds", "Producers given up after a failure and made again"),
            read_records,
            read_batches,
            waiting_batches,
            reads: counter("reads", "Reads from a position, outside of any group"),
            expired: counter("expired", "Positions that retention had passed"),
            damaged: counter("damaged", "Records or batches that are not what was written"),
            commits: counter("commits", "Commits of groups that the broker confirmed"),
            commit_failures: counter("commit_failures", "Commits of groups that failed; work is repeated"),
            broker_errors: counter("broker_errors", "Errors of connections, brokers and groups"),
            append_failures,
            rebalances,
        }
    }

    pub(crate) fn append_failed(&self, error: &LogError) {
        let reason = match error {
            LogError::Full(_) => AppendFailure::full,
            LogError::Ambiguous(_) | LogError::Damaged(_) | LogError::Replaced(_) | LogError::Expired { .. } => {
                AppendFailure::ambiguous
            }
            LogError::Unavailable(_) => AppendFailure::unavailable,
            LogError::Closed => AppendFailure::closed,
        };
        self.append_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn rebalanced(&self, kind: Rebalance, partitions: usize) {
        self.rebalances.get_or_create(&RebalanceLabel { kind }).inc_by(partitions as u64);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_counter_shows_from_the_first_moment() {
        let mut registry = Registry::default();
        Metrics::register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "nimbus_log_appended_records_total{topic=\"dead_letters\"} 0",
            "nimbus_log_appended_bytes_total{topic=\"events\"} 0",
            "nimbus_log_append_seconds_count 0",
            "nimbus_log_append_failures_total{reason=\"ambiguous\"} 0",
            "nimbus_log_queue_bytes 0",
            "nimbus_log_producer_rebuilds_total 0",
            "nimbus_log_read_records_total{topic=\"results\"} 0",
            "nimbus_log_read_batches_total{topic=\"results\"} 0",
            "nimbus_log_waiting_batches 0",
            "nimbus_log_rebalanced_partitions_total{kind=\"forced\"} 0",
            "nimbus_log_reads_total 0",
            "nimbus_log_expired_total 0",
            "nimbus_log_damaged_total 0",
            "nimbus_log_commits_total 0",
            "nimbus_log_commit_failures_total 0",
            "nimbus_log_broker_errors_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
