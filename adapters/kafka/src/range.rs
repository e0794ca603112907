//! What a partition holds now, asked of the broker that leads it.

use std::time::Instant;

use nimbus_core::{
    Partition, Position,
    ports::log::{LogError, Range},
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use crate::blocking::patiently;

/// The first position that is kept, and the one behind the last record. Blocks for one round trip, and for as long as a question
/// may take when something passes.
pub(crate) fn range<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partition: Partition,
) -> Result<Range, LogError> {
    let number = partition.0.cast_signed();
    let (low, high) = patiently(|limit| {
        let began = Instant::now();
        let asked = client.fetch_watermarks(topic, number, limit);
        if !asked.as_ref().is_err_and(is_without_leader) {
            return asked;
        }
        let left = || limit.saturating_sub(began.elapsed());
        // What the client heard while there was no leader it keeps, and asks nobody again; a question about the topic by name
        // puts the answer in its place. (librdkafka 2.12: a cached topic with an error counts as a partition that is none.)
        client.fetch_metadata(Some(topic), left())?;
        client.fetch_watermarks(topic, number, left())
    })?;
    let position = |offset: i64| u64::try_from(offset).map(Position);
    match (position(low), position(high)) {
        (Ok(start), Ok(end)) => Ok(Range { start, end }),
        _ => Err(LogError::Unavailable(format!("the broker gave watermarks that are none: {low}, {high}"))),
    }
}

fn is_without_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}
