//! What an event takes in Kafka, of all rounds.

use serde::{Deserialize, Serialize};

use super::{super::kafka::KafkaBytes, Spread};

/// What may be around the event and its result together.
const AROUND_BOTH: f64 = 60.0;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KafkaRow {
    pub(super) payload_bytes: usize,
    pub(super) bytes_per_event: Spread,
    /// Twice the payload, though the result here is shorter, and what may be around both.
    pub(super) at_most: f64,
    pub(super) met: bool,
}

impl KafkaRow {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn of(stored: &[KafkaBytes]) -> Self {
        let payload_bytes = stored.first().map_or(0, |stored| stored.payload_bytes);
        let bytes_per_event = Spread::of(&stored.iter().map(KafkaBytes::per_event).collect::<Vec<_>>());
        let at_most = 2.0 * payload_bytes as f64 + AROUND_BOTH;
        // Without a measurement the median is no number.
        Self { payload_bytes, bytes_per_event, at_most, met: bytes_per_event.median <= at_most }
    }
}
