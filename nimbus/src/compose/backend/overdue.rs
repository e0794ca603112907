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

/// What is known of events that wait.
#[derive(Debug)]
pub(super) struct Waits {
    /// For how long the oldest one waits, of those partitions that could be asked.
    pub(super) longest: Duration,
    /// Why not all could be asked.
    pub(super) unknown: Option<LogError>,
}

/// For how long the oldest event waits that not every one of `groups` groups has finished. One partition that cannot be read
/// hides no other.
pub(super) async fn waits(events: &EventLog, groups: usize, now: UnixMillis) -> Waits {
    let mut waits = Waits { longest: Duration::ZERO, unknown: None };
    for partition in events.partitions().all() {
        match wait(events, partition, groups, now).await {
            Ok(wait) => waits.longest = waits.longest.max(wait),
            Err(error) => waits.unknown = Some(error),
        }
    }
    waits
}

/// How many records in a row that nobody can read are looked past.
const MOST_UNREADABLE: u64 = 16;

async fn wait(events: &EventLog, partition: Partition, groups: usize, now: UnixMillis) -> Result<Duration, LogError> {
    let range = events.range(partition).await?;
    let committed = events.committed(partition).await?;
    // A group without a commit has finished nothing.
    let finished = match committed.len() < groups {
        true => Position::START,
        false => committed.into_iter().map(|(_, position)| position).min().unwrap_or_default(),
    };
    let mut first = finished.max(range.start);
    let beyond = first.0.saturating_add(MOST_UNREADABLE);
    while first < range.end {
        match events.read(partition, first, 1).await {
            Ok(batch) => {
                return Ok(batch.records.first().map_or(Duration::ZERO, |stored| now.since(stored.record.received)));
            }
            // It went just now: the next one is looked at next time.
            Err(LogError::Expired { .. }) => return Ok(Duration::ZERO),
            // Consumers stand still in front of it, and what waits behind it is what retention would take.
            Err(LogError::Damaged(_)) if first.0 < beyond => first = Position(first.0 + 1),
            Err(error) => return Err(error),
        }
    }
    Ok(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::Arc};

    use async_trait::async_trait;
    use nimbus_contracts::Sample as _;
    use nimbus_core::{
        ClientId, Event, GroupId, LogEpoch, Offset, PartitionCount,
        ports::log::{Appender, Appending, Batch, Consumer, Log, Range, Stored},
    };
    use ulid::Ulid;

    use super::*;

    #[test]
    fn events_are_refused_from_four_fifths_of_the_retention_on() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(refusal(hours(79), Some(hours(100))), None);
        assert!(refusal(hours(81), Some(hours(100))).is_some_and(|why| why.contains("291600 s")));
        assert_eq!(refusal(hours(1_000_000), None), None, "a topic that keeps everything");
    }

    /// Partition 0 cannot be asked; partition 1 has two records that nobody can read, and then one that was received at 1 s.
    #[derive(Debug)]
    struct Topic;

    fn event() -> Event {
        Event { received: UnixMillis(1_000), ..Event::sample(&ClientId::try_new("c").unwrap(), 0) }
    }

    #[async_trait]
    impl Log<Event> for Topic {
        fn epoch(&self) -> LogEpoch {
            LogEpoch(Ulid::nil())
        }

        fn partitions(&self) -> PartitionCount {
            PartitionCount(NonZeroU32::new(2).unwrap())
        }

        async fn ready(&self) {}

        fn append(&self, _: Partition, _: Vec<Event>) -> Appending {
            unreachable!("it is only looked at")
        }

        fn appender(&self) -> Box<dyn Appender<Event>> {
            unreachable!("it is only looked at")
        }

        async fn consume(&self, _: &GroupId) -> Result<Box<dyn Consumer<Event>>, LogError> {
            Err(LogError::Closed)
        }

        async fn range(&self, partition: Partition) -> Result<Range, LogError> {
            match partition {
                Partition(0) => Err(LogError::Unavailable("its leader is away".to_owned())),
                _ => Ok(Range { start: Position(3), end: Position(10) }),
            }
        }

        async fn read(&self, partition: Partition, from: Position, _: usize) -> Result<Batch<Event>, LogError> {
            if from < Position(5) {
                return Err(LogError::Damaged("version 2".to_owned()));
            }
            let records = Arc::from([Stored { offset: Offset(from.0), record: event() }]);
            Ok(Batch { partition, from, records, next: Position(from.0 + 1), provisional: None })
        }

        async fn committed(&self, _: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_does_not_hide_what_waits() {
        let waits = waits(&Topic, 2, UnixMillis(61_000)).await;
        assert_eq!(waits.longest, Duration::from_secs(60));
        assert!(matches!(waits.unknown, Some(LogError::Unavailable(_))));
    }
}
