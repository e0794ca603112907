//! Reads from any position, by clients that belong to no group.
//!
//! A few of them are kept and lent out, one for each read that is under way; more reads than that wait. The end of the
//! log is asked for first, so that a read at the end need not wait for records that may never come.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nimbus_core::{
    Partition, Position,
    ports::log::{Batch, LogError, Range},
};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList, consumer::Consumer, error::KafkaError, message::BorrowedMessage,
    topic_partition_list::Offset as KafkaOffset, types::RDKafkaErrorCode,
};
use tokio::sync::Semaphore;

use crate::{
    blocking::blocking,
    client::{Asking, asking},
    decode::decode,
    fault,
    metrics::Metrics,
    range::range,
    topic::TopicRecord,
};

/// Reads at a time; more wait. Each reader has a connection to each broker, and reads ahead a few MiB.
const READERS: usize = 4;
/// How long a read may wait for records that are there.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// The readers.
#[derive(Debug)]
pub(crate) struct Readers {
    config: ClientConfig,
    metrics: Metrics,
    /// At most [`READERS`].
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(config: ClientConfig, metrics: Metrics) -> Self {
        Self { config, metrics, idle: Mutex::default(), permits: Arc::new(Semaphore::new(READERS)) }
    }

    /// Lets nobody read any more, and lets go of the readers. Blocks.
    pub(crate) fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }

    /// Serves what has gathered in readers that nobody uses: log lines, errors.
    pub(crate) fn tend(&self) {
        for reader in &*self.idle.lock().unwrap_or_else(PoisonError::into_inner) {
            // Nothing is assigned: there are no records.
            while reader.client.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Reads records of one partition from `from` on, up to about `max_bytes`. Empty at the end of the log.
    pub(crate) async fn read<R: TopicRecord>(
        self: &Arc<Self>,
        topic: Arc<str>,
        partition: Partition,
        from: Position,
        max_bytes: usize,
    ) -> Result<Batch<R>, LogError> {
        self.metrics.reads.inc();
        self.with_reader(move |reader| {
            let (mut records, mut bytes) = (Vec::new(), 0);
            let next = reader.scan(&topic, partition, from, |message| {
                let stored = decode::<R>(message)?;
                bytes += stored.record.weight();
                records.push(stored);
                Ok(if bytes < max_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            });
            match next {
                Ok(next) => Ok(Batch { partition, from, records: records.into(), next, provisional: None }),
                // What comes before the damage can be read.
                Err(LogError::Damaged(_)) if !records.is_empty() => {
                    let next = records.last().map_or(from, |last| last.offset.position_after());
                    Ok(Batch { partition, from, records: records.into(), next, provisional: None })
                }
                Err(error) => Err(error),
            }
        })
        .await
        .inspect_err(|error| self.count(error))
    }

    fn count(&self, error: &LogError) {
        match error {
            LogError::Expired { .. } => drop(self.metrics.expired.inc()),
            LogError::Damaged(_) => drop(self.metrics.damaged.inc()),
            LogError::Full(_)
            | LogError::Ambiguous(_)
            | LogError::Unavailable(_)
            | LogError::Replaced(_)
            | LogError::Closed => {}
        }
    }

    async fn with_reader<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let readers = Arc::clone(self);
        blocking(&self.permits, move || {
            let kept = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match kept {
                Some(reader) => reader,
                None => Reader { client: asking(&readers.config, &readers.metrics)? },
            };
            let outcome = work(&reader);
            // One that had trouble is not lent out again.
            if !matches!(outcome, Err(LogError::Unavailable(_))) && !readers.permits.is_closed() {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            outcome
        })
        .await
    }
}

/// One client that reads.
struct Reader {
    client: Asking,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// A list of this one place.
pub(crate) fn at(topic: &str, partition: Partition, position: Position) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::with_capacity(1);
    let offset = KafkaOffset::Offset(i64::try_from(position.0).unwrap_or(i64::MAX));
    list.add_partition_offset(topic, partition.0.cast_signed(), offset).map_err(|error| fault::unavailable(&error))?;
    Ok(list)
}

impl Reader {
    /// Shows messages from `from` on until one says break, or the end that the log had when it was asked. Says where the
    /// next scan begins.
    fn scan(
        &self,
        topic: &str,
        partition: Partition,
        from: Position,
        show: impl FnMut(&BorrowedMessage<'_>) -> Result<ControlFlow<()>, LogError>,
    ) -> Result<Position, LogError> {
        let Range { start, end } = range(&self.client, topic, partition)?;
        if from < start {
            return Err(LogError::Expired { partition, wanted: from, start });
        }
        if from >= end {
            return Ok(from);
        }
        self.client.assign(&at(topic, partition, from)?).map_err(|error| fault::unavailable(&error))?;
        let scanned = self.run(topic, partition, from, end, show);
        // What was fetched and not shown is void from here on.
        self.client.unassign().map_err(|error| fault::unavailable(&error))?;
        scanned
    }

    fn run(
        &self,
        topic: &str,
        partition: Partition,
        from: Position,
        end: Position,
        mut show: impl FnMut(&BorrowedMessage<'_>) -> Result<ControlFlow<()>, LogError>,
    ) -> Result<Position, LogError> {
        let deadline = Instant::now() + READ_LIMIT;
        let mut next = from;
        let mut asked_again = false;
        while next < end {
            match self.client.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let flow = show(&message)?;
                    next = Position(u64::try_from(message.offset()).unwrap_or(next.0) + 1);
                    if flow.is_break() {
                        break;
                    }
                }
                // Only holes are left before the end, if who says so knows the end: a leader that was elected after it was
                // asked for learns a moment later how far its predecessor had got. It is asked again, and read once more.
                Some(Err(KafkaError::PartitionEOF(_))) if !asked_again => {
                    asked_again = true;
                    if range(&self.client, topic, partition)?.end < end {
                        break;
                    }
                    let place = at(topic, partition, next)?;
                    self.client.assign(&place).map_err(|error| fault::unavailable(&error))?;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(next.max(end)),
                Some(Err(error)) => self.trouble(&error, topic, partition, next)?,
                None if Instant::now() < deadline => {}
                None if next > from => break,
                None => return Err(LogError::Unavailable("records that are there did not come in time".to_owned())),
            }
        }
        Ok(next)
    }

    /// Whether reading can go on after this error.
    fn trouble(&self, error: &KafkaError, topic: &str, partition: Partition, at: Position) -> Result<(), LogError> {
        match error.rdkafka_error_code() {
            Some(code) if fault::is_damage(code) => Err(damaged(topic, partition, at, code)),
            Some(RDKafkaErrorCode::AutoOffsetReset) => {
                Err(out_of_range(partition, at, range(&self.client, topic, partition)?))
            }
            Some(code) if fault::is_passing(code) => Ok(()),
            _ => Err(fault::unavailable(error)),
        }
    }
}

/// Bytes on the way from the broker are not what was written.
pub(crate) fn damaged(topic: &str, partition: Partition, at: Position, code: RDKafkaErrorCode) -> LogError {
    LogError::Damaged(format!("topic {topic} partition {partition}, at or behind offset {at}: {code}"))
}

/// The broker has nothing at a position.
pub(crate) fn out_of_range(partition: Partition, wanted: Position, range: Range) -> LogError {
    if wanted < range.start {
        LogError::Expired { partition, wanted, start: range.start }
    } else if wanted > range.end {
        let end = range.end;
        LogError::Damaged(format!("partition {partition} ends at {end}, position {wanted} was already there"))
    } else {
        LogError::Unavailable(format!("position {wanted} of partition {partition} could not be read just now"))
    }
}
