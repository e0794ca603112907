//! Counters of the embedded log.

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

/// Which log.
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

/// Counters of the embedded log.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// By [`Topic::index`].
    pub(crate) appended_records: [Counter; 3],
    pub(crate) appended_bytes: [Counter; 3],
    pub(crate) sync_seconds: Histogram,
    pub(crate) write_records: Histogram,
    pub(crate) queue_bytes: Gauge,
    pub(crate) log_bytes: Gauge,
    pub(crate) segments: Gauge,
    pub(crate) torn_tails: Counter,
    pub(crate) sync_failures: Counter,
    pub(crate) full_refusals: Counter,
    pub(crate) deleted_segments: Counter,
    pub(crate) compacted_segments: Counter,
    pub(crate) early_events: Counter,
    pub(crate) vain_waits: Counter,
    pub(crate) tail_hits: Counter,
    pub(crate) tail_misses: Counter,
    pub(crate) snapshot_failures: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("nimbus_log");
        let records = Family::<TopicLabel, Counter>::default();
        registry.register("appended_records", "Records made durable", records.clone());
        let bytes = Family::<TopicLabel, Counter>::default();
        registry.register_with_unit("appended", "Record bytes made durable", Unit::Bytes, bytes.clone());
        let by_topic = |family: &Family<TopicLabel, Counter>| Topic::ALL.map(|t| family.get_or_create_owned(&t.into()));

        // 32 µs to 1 s.
        let sync_seconds = Histogram::new(exponential_buckets(0.000_032, 2.0, 16));
        registry.register_with_unit("sync", "Duration of one fdatasync", Unit::Seconds, sync_seconds.clone());
        let write_records = Histogram::new(exponential_buckets(1.0, 4.0, 9));
        registry.register("write_records", "Records that shared one fdatasync", write_records.clone());

        let mut gauge = |name, help| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let queue_bytes = gauge("queue_bytes", "Bytes that wait for the next write");
        let log_bytes = gauge("size_bytes", "Size of all segments");
        let segments = gauge("segments", "Number of segments");
        let mut counter = |name, help| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            appended_records: by_topic(&records),
            appended_bytes: by_topic(&bytes),
            sync_seconds,
            write_records,
            queue_bytes,
            log_bytes,
            segments,
            torn_tails: counter("torn_tails", "Unfinished writes that were cut off at start"),
            sync_failures: counter("sync_failures", "Writes or fdatasyncs that failed, but for a full disk"),
            full_refusals: counter("full_refusals", "Appends refused because the disk or the log is full"),
            compacted_segments: counter("compacted_segments", "Segments of which retention left only the dead letters"),
            deleted_segments: counter("deleted_segments", "Segments deleted by retention"),
            early_events: counter("early_events", "Events shown while they were being written"),
            vain_waits: counter(
                "vain_waits",
                "Writes that waited for answers to their events which did not come in time",
            ),
            tail_hits: counter("tail_hits", "Reads answered from memory"),
            tail_misses: counter("tail_misses", "Reads that went to disk"),
            snapshot_failures: counter("snapshot_failures", "Snapshots that could not be written"),
        }
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
            "nimbus_log_sync_seconds_count 0",
            "nimbus_log_write_records_count 0",
            "nimbus_log_queue_bytes 0",
            "nimbus_log_size_bytes 0",
            "nimbus_log_segments 0",
            "nimbus_log_torn_tails_total 0",
            "nimbus_log_sync_failures_total 0",
            "nimbus_log_full_refusals_total 0",
            "nimbus_log_deleted_segments_total 0",
            "nimbus_log_compacted_segments_total 0",
            "nimbus_log_early_events_total 0",
            "nimbus_log_vain_waits_total 0",
            "nimbus_log_tail_hits_total 0",
            "nimbus_log_tail_misses_total 0",
            "nimbus_log_snapshot_failures_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
