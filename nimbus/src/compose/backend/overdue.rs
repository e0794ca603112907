//! Rule 8: a server stops accepting when the oldest event that nobody has executed nears the retention of its topic. Kafka
//! deletes by age alone: what is accepted beyond that may be gone before anybody has seen it.

use std::time::Duration;

use nimbus_core::{
    Partition, Position,
    clock::UnixMillis,
    ports::log::{EventLog, LogError},
};

/// How much of the retention an event may have waited.
const MOST: f64 = 0.8;

/// Why nothing more is accepted, if so.
pub(super) fn refusal(waited: Duration, retention: Option<Duration>) -> Option<String> {
    let retention = retention?;
    (waited > retention.mul_f64(MOST)).then(|| {
        format!(
            "the oldest event that nobody has executed waits for {} s, and the topic keeps records for {} s; executors must \
             catch up",
            waited.as_secs(),
            retention.as_secs()
        )
    })
}

/// For how long the oldest event waits that not every one of `groups` groups has finished.
///
/// # Errors
/// [`LogError`], all retryable or final as the log says.
pub(super) async fn longest_wait(events: &EventLog, groups: usize, now: UnixMillis) -> Result<Duration, LogError> {
    let mut longest = Duration::ZERO;
    for partition in events.partitions().all() {
        longest = longest.max(wait(events, partition, groups, now).await?);
    }
    Ok(longest)
}

async fn wait(events: &EventLog, partition: Partition, groups: usize, now: UnixMillis) -> Result<Duration, LogError> {
    let range = events.range(partition).await?;
    let committed = events.committed(partition).await?;
    // A group without a commit has finished nothing.
    let finished = match committed.len() < groups {
        true => Position::START,
        false => committed.into_iter().map(|(_, position)| position).min().unwrap_or_default(),
    };
    let first = finished.max(range.start);
    if first >= range.end {
        return Ok(Duration::ZERO);
    }
    match events.read(partition, first, 1).await {
        Ok(batch) => Ok(batch.records.first().map_or(Duration::ZERO, |stored| now.since(stored.record.received))),
        // It went just now: the next one is looked at next time.
        Err(LogError::Expired { .. }) => Ok(Duration::ZERO),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_refused_from_four_fifths_of_the_retention_on() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(refusal(hours(79), Some(hours(100))), None);
        assert!(refusal(hours(81), Some(hours(100))).is_some_and(|why| why.contains("291600 s")));
        assert_eq!(refusal(hours(1_000_000), None), None, "a topic that keeps everything");
    }
}
