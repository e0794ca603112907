//! Finding a place by time, in logs with holes and clocks that step back.

use std::num::NonZeroU32;

use nimbus_contracts::Sample as _;
use nimbus_core::{
    ClientId, GroupId, LogEpoch, Offset, PartitionCount, ResultRecord,
    ports::log::{Appender, Appending, Batch, Consumer, Log, Range, Stored},
};
use proptest::{collection::vec, prelude::*};
use ulid::Ulid;

use super::*;

/// A log that can only be read.
#[derive(Debug)]
struct Records {
    start: Position,
    records: Vec<Stored<ResultRecord>>,
}

impl Records {
    fn end(&self) -> Position {
        self.records.last().map_or(self.start, |last| last.offset.position_after())
    }
}

#[async_trait]
impl Log<ResultRecord> for Records {
    fn epoch(&self) -> LogEpoch {
        LogEpoch(Ulid(1))
    }

    fn partitions(&self) -> PartitionCount {
        PartitionCount(NonZeroU32::MIN)
    }

    async fn ready(&self) {}

    fn append(&self, _: Partition, _: Vec<ResultRecord>) -> Appending {
        Box::pin(std::future::ready(Err(LogError::Closed)))
    }

    fn appender(&self) -> Box<dyn Appender<ResultRecord>> {
        unreachable!("nothing is appended here")
    }

    async fn consume(&self, _: &GroupId) -> Result<Box<dyn Consumer<ResultRecord>>, LogError> {
        Err(LogError::Closed)
    }

    async fn range(&self, _: Partition) -> Result<Range, LogError> {
        // Retention has gone on since: it begins earlier here than for a read.
        Ok(Range { start: Position(self.start.0 / 2), end: self.end() })
    }

    async fn read(&self, partition: Partition, from: Position, _: usize) -> Result<Batch<ResultRecord>, LogError> {
        if from < self.start {
            return Err(LogError::Expired { partition, wanted: from, start: self.start });
        }
        let found = self.records.iter().find(|stored| !from.covers(stored.offset)).cloned();
        let next = found.as_ref().map_or(from, |stored| stored.offset.position_after());
        Ok(Batch { partition, from, records: found.into_iter().collect(), next, provisional: None })
    }

    async fn committed(&self, _: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
        Ok(Vec::new())
    }
}

/// Records at growing offsets from `start` on, with their times.
fn log(start: u64, steps: &[(u64, u64)]) -> Records {
    let client = ClientId::try_new("c").unwrap();
    let (mut offset, mut at) = (start, 0);
    let records = steps.iter().map(|(gap, later)| {
        offset += 1 + gap;
        at += later;
        let record = ResultRecord { produced: UnixMillis(at), ..ResultRecord::sample(&client, 1) };
        Stored { offset: Offset(offset), record }
    });
    Records { start: Position(start), records: records.collect() }
}

fn find(log: Records, since: u64) -> Position {
    // As its range says, which may be a little behind what can be read.
    let has_records = log.start.0 / 2 < log.end().0;
    let finding = LogBeginning::new(Arc::new(log));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(finding.find(Partition(0), UnixMillis(since))).unwrap();
    assert_eq!(found.has_records, has_records);
    found.position
}

proptest! {
    #[test]
    fn everything_before_it_is_older_and_everything_after_it_is_not(
        start in 0..50_u64,
        steps in vec((0..5_u64, 0..4_u64), 0..60),
        since in 0..150_u64,
    ) {
        let found = find(log(start, &steps), since);
        let log = log(start, &steps);
        for stored in &log.records {
            prop_assert_eq!(found.covers(stored.offset), stored.record.produced.0 < since, "{} at {}", found, stored.offset);
        }
        prop_assert!(found <= log.end().max(log.start));
    }
}
