//! Helpers of this crate's tests.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use nimbus_core::{
    ClientId, ContentType, DeadLetter, Event, EventName, Failure, Offset, Origin, OutboxId, Partition, PartitionCount,
    PrincipalId,
    clock::{Clock, UnixMillis},
    ports::log::{EventLog, LogError},
};
use prometheus_client::registry::Registry;

use crate::{
    Embedded, EmbeddedConfig, MIN_SEGMENT_BYTES, OpenError,
    disk::simulated::SimulatedDisk,
    embedded::AllMetrics,
    frame::Salt,
    scan::{Scanner, Step},
    segment::SegmentHeader,
};

/// A clock that a test moves.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).expect("a short time"), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn origin(client: &str) -> Arc<Origin> {
    Arc::new(Origin {
        client: ClientId::try_new(client).expect("a valid id"),
        principal: PrincipalId::try_new("p").expect("a valid id"),
        outbox: OutboxId::new([7; 16]),
    })
}

/// An event that can be told from any other by its number.
pub(crate) fn event(seq: u64) -> Event {
    event_of(&origin("client"), seq, 8)
}

pub(crate) fn event_of(origin: &Arc<Origin>, seq: u64, payload: usize) -> Event {
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.resize(payload, b'x');
    Event {
        origin: Arc::clone(origin),
        seq,
        name: EventName::try_new("sq").expect("a valid id"),
        payload: Bytes::from(bytes),
        content_type: ContentType::default(),
        attributes: Vec::new(),
        deadline: None,
        traceparent: String::new(),
        received: UnixMillis(0),
        replay_no: 0,
        refused: None,
        edge_context: Bytes::new(),
    }
}

/// Opens a log on a disk in memory.
pub(crate) fn open_on(disk: &SimulatedDisk, config: EmbeddedConfig) -> Result<Embedded, OpenError> {
    let metrics = AllMetrics::register(&mut Registry::default());
    Embedded::open_on(Arc::new(disk.clone()), config, Arc::new(TestClock::default()), metrics)
}

/// Two partitions, the smallest segments.
pub(crate) fn small() -> EmbeddedConfig {
    EmbeddedConfig {
        partitions: PartitionCount(NonZeroU32::new(2).expect("not 0")),
        segment_bytes: MIN_SEGMENT_BYTES,
        spare_bytes: 1000,
        ..EmbeddedConfig::new("in-memory")
    }
}

pub(crate) const P0: Partition = Partition(0);
pub(crate) const P1: Partition = Partition(1);

/// The numbers of the events in a partition, read from the beginning.
pub(crate) async fn read_all(log: &EventLog, partition: Partition) -> Result<Vec<(Offset, u64)>, LogError> {
    let mut from = log.range(partition).await?.start;
    let mut found = Vec::new();
    loop {
        let batch = log.read(partition, from, 4096).await?;
        if batch.next == from {
            return Ok(found);
        }
        found.extend(batch.records.iter().map(|stored| (stored.offset, stored.record.seq)));
        from = batch.next;
    }
}

pub(crate) fn dead_letter(seq: u64) -> DeadLetter {
    DeadLetter {
        event: event(seq),
        failure: Failure { code: 13, reason: "R".into(), message: "m".into() },
        attempts: 1,
        event_offset: Offset(0),
        failed: UnixMillis(0),
        mark: None,
    }
}

/// Where the frames of a segment's file end.
pub(crate) fn end_of_frames(contents: &[u8]) -> usize {
    let (log, partitions) = SegmentHeader::claims(contents).expect("it begins like a segment");
    let mut end = SegmentHeader::bytes(partitions);
    let mut scanner = Scanner::new(contents, end, Salt::of(log));
    while let Step::Frame { at, header, .. } = scanner.step() {
        end = at + header.frame_bytes();
    }
    end
}

/// Offset and number of each dead letter of the first partition.
pub(crate) async fn read_dead_letters(log: &Embedded) -> Result<Vec<(u64, u64)>, LogError> {
    let letters = log.dead_letters();
    let mut from = letters.range(P0).await?.start;
    let mut found = Vec::new();
    loop {
        let batch = letters.read(P0, from, 1000).await?;
        if batch.next == from {
            return Ok(found);
        }
        found.extend(batch.records.iter().map(|stored| (stored.offset.0, stored.record.event.seq)));
        from = batch.next;
    }
}
