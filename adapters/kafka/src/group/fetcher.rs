//! The client that reads what a member owns, each partition from a queue of its own.
//!
//! What a queue holds beyond the one batch that is read ahead stays with librdkafka, which stops fetching when it has
//! enough: a partition that nobody takes from costs its prefetch and nothing else.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nimbus_core::{
    Partition, Position,
    ports::log::{Batch, LogError, Stored},
};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{Consumer, base_consumer::PartitionQueue},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tracing::{debug, error};

use super::{bell::Bell, seat::Gathered};
use crate::{
    client::{Asking, Observer, asking},
    decode::{decode, size},
    fault,
    metrics::Metrics,
    range::range,
    reader::{at, damaged, out_of_range},
    topic::TopicRecord,
};

/// What one batch holds at most, about.
const BATCH_BYTES: usize = 256 << 10;
/// And in records: decoded ones are larger than their bytes.
const BATCH_RECORDS: usize = 4096;

/// How long a member waits at its start to be told where the topic is.
const LOOK_UP: Duration = Duration::from_secs(1);

/// One partition that is being read.
struct Strand {
    queue: PartitionQueue<Observer>,
    /// There may be something. Not set: the queue was seen empty, and nothing came since. The library calls back only for what comes into
    /// an empty queue, so it must not be cleared before that was seen.
    fresh: Arc<AtomicBool>,
    /// Found behind records that were handed over first.
    found: Option<LogError>,
    /// How many records the last batch had: room for as many saves the next one from growing.
    usual: usize,
}

pub(super) struct Fetcher {
    strands: HashMap<Partition, Strand>,
    client: Arc<Asking>,
    topic: Arc<str>,
    bell: Bell,
}

impl Fetcher {
    pub(super) fn open(
        config: &ClientConfig,
        topic: Arc<str>,
        bell: Bell,
        metrics: &Metrics,
    ) -> Result<Self, LogError> {
        Ok(Self { strands: HashMap::new(), client: Arc::new(asking(config, metrics)?), topic, bell })
    }

    /// Asks where the topic is, and waits for the answer. A client that is only told what to read asks by itself at the end of the
    /// second, and until then a partition that was taken over would lie idle. Without an answer it is as before.
    pub(super) fn look_up(&self) {
        if let Err(error) = self.client.fetch_metadata(Some(&self.topic), LOOK_UP) {
            debug!(topic = &*self.topic, %error, "where the topic is was not told in time");
        }
    }

    /// Begins to read at `position`, also when it is being read elsewhere.
    pub(super) fn start(&mut self, partition: Partition, position: Position) -> Result<(), LogError> {
        self.stop(partition);
        let queue = self.client.split_partition_queue(&self.topic, partition.0.cast_signed());
        let Some(mut queue) = queue else {
            return Err(LogError::Unavailable(format!("partition {partition} cannot be read")));
        };
        let fresh = Arc::new(AtomicBool::new(true));
        let (flag, bell) = (Arc::clone(&fresh), self.bell.clone());
        queue.set_nonempty_callback(move || {
            flag.store(true, Ordering::Release);
            bell.ring();
        });
        let list = at(&self.topic, partition, position)?;
        self.client.incremental_assign(&list).map_err(|error| fault::unavailable(&error))?;
        self.strands.insert(partition, Strand { queue, fresh, found: None, usual: 0 });
        Ok(())
    }

    /// Reads it no more.
    pub(super) fn stop(&mut self, partition: Partition) {
        let Some(strand) = self.strands.remove(&partition) else { return };
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, partition.0.cast_signed());
        if let Err(error) = self.client.incremental_unassign(&list) {
            error!(%partition, %error, "a partition is still being read");
        }
        // From here on the queue shows nothing, and looking at it frees what it holds.
        while strand.queue.poll(Duration::ZERO).is_some() {}
    }

    /// Serves the client. `Some`: a partition whose records came by another way than its queue.
    pub(super) fn poll(&self) -> Option<Partition> {
        match self.client.poll(Duration::ZERO) {
            Some(Ok(message)) => {
                error!(partition = message.partition(), "a record came past its queue, reading again");
                u32::try_from(message.partition()).ok().map(Partition)
            }
            // Counted and logged where it came in.
            Some(Err(_)) | None => None,
        }
    }

    /// A batch of what has come, or the error that reading cannot go on over. `look`: also when nothing seems to have
    /// come.
    pub(super) fn gather<R: TopicRecord>(
        &mut self,
        partition: Partition,
        from: Position,
        look: bool,
    ) -> Option<Result<Gathered<R>, LogError>> {
        let (client, topic) = (&self.client, &self.topic);
        let strand = self.strands.get_mut(&partition)?;
        // Before looking: what comes from now on sets it again.
        if !strand.fresh.swap(false, Ordering::AcqRel) && !look && strand.found.is_none() {
            return None;
        }
        if let Some(found) = strand.found.take() {
            return Some(Err(found));
        }
        let (mut records, mut bytes, mut more) = (Vec::new(), 0, true);
        while bytes < BATCH_BYTES && records.len() < BATCH_RECORDS {
            let next = records.last().map_or(from, |last: &Stored<R>| last.offset.position_after());
            let found = match strand.queue.poll(Duration::ZERO) {
                // Empty.
                None => {
                    more = false;
                    break;
                }
                Some(Ok(message)) => {
                    // Not before: most looks find nothing.
                    if records.is_empty() {
                        records.reserve(strand.usual);
                    }
                    bytes += size(&message);
                    decode::<R>(&message)
                }
                Some(Err(error)) => Err(trouble(client, topic, partition, next, &error)),
            };
            match found {
                Ok(stored) if next.covers(stored.offset) => {}
                Ok(stored) => records.push(stored),
                Err(error) if records.is_empty() => return Some(Err(error)),
                Err(error) => {
                    strand.found = Some(error);
                    break;
                }
            }
        }
        if more {
            strand.fresh.store(true, Ordering::Release);
        }
        let Some(last) = records.last() else {
            // All of it was known, and there is more.
            if more {
                self.bell.ring();
            }
            return None;
        };
        let next = last.offset.position_after();
        strand.usual = records.len();
        let batch = Batch { partition, from, records: records.into(), next, provisional: None };
        Some(Ok(Gathered { batch, more }))
    }
}

/// What an error of a partition's queue means. May ask the broker.
fn trouble(client: &Asking, topic: &str, partition: Partition, next: Position, error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) if fault::is_damage(code) => damaged(topic, partition, next, code),
        Some(RDKafkaErrorCode::AutoOffsetReset) => match range(client, topic, partition) {
            Ok(range) => out_of_range(partition, next, range),
            Err(error) => error,
        },
        _ => fault::unavailable(error),
    }
}
