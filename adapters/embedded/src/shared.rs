//! Everything that the handles, the writer and the keeper share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nimbus_core::{DeadLetter, Event, ResultRecord, clock::Clock, ports::log::LogError};

use crate::{
    config::EmbeddedConfig,
    disk::Disk,
    frame::Salt,
    groups::Groups,
    meta::Meta,
    metrics::Metrics,
    queue::Queue,
    segments::Segments,
    shelf::{FrameAt, Shelf, numbered},
    topic::{Records, Strand, Topic, TopicRecord},
};

/// The strands of all topics, by partition.
#[derive(Debug)]
pub(crate) struct Shelves {
    pub(crate) events: Vec<Shelf<Event>>,
    pub(crate) results: Vec<Shelf<ResultRecord>>,
    pub(crate) dead_letters: Vec<Shelf<DeadLetter>>,
}

impl Shelves {
    pub(crate) fn publish(&self, strand: Strand, frame: FrameAt, weight: usize, records: Records) {
        let partition = strand.partition.0 as usize;
        match records {
            Records::Events(records) => self.events[partition].publish(frame, weight, numbered(frame.base, records)),
            Records::Shown(records) => self.events[partition].publish(frame, weight, records),
            Records::Results(records) => self.results[partition].publish(frame, weight, numbered(frame.base, records)),
            Records::DeadLetters(records) => {
                self.dead_letters[partition].publish(frame, weight, numbered(frame.base, records));
            }
        }
    }

    /// Takes back every event that was shown early.
    pub(crate) fn take_back_events(&self) {
        self.events.iter().for_each(Shelf::take_back);
    }

    pub(crate) fn evict(&self, strand: Strand) {
        let partition = strand.partition.0 as usize;
        match strand.topic {
            Topic::Events => self.events[partition].evict(),
            Topic::Results => self.results[partition].evict(),
            Topic::DeadLetters => self.dead_letters[partition].evict(),
        }
    }

    pub(crate) fn drop_segment(&self, strand: Strand, segment: u64, start: u64) {
        let partition = strand.partition.0 as usize;
        match strand.topic {
            Topic::Events => self.events[partition].drop_segment(segment, start),
            Topic::Results => self.results[partition].drop_segment(segment, start),
            Topic::DeadLetters => self.dead_letters[partition].drop_segment(segment, start),
        }
    }
}

/// A record whose shelves can be found.
pub(crate) trait Shelved: TopicRecord {
    fn shelves(shelves: &Shelves) -> &[Shelf<Self>];
}

impl Shelved for Event {
    fn shelves(shelves: &Shelves) -> &[Shelf<Self>] {
        &shelves.events
    }
}

impl Shelved for ResultRecord {
    fn shelves(shelves: &Shelves) -> &[Shelf<Self>] {
        &shelves.results
    }
}

impl Shelved for DeadLetter {
    fn shelves(shelves: &Shelves) -> &[Shelf<Self>] {
        &shelves.dead_letters
    }
}

/// What all parts of one open log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EmbeddedConfig,
    pub(crate) meta: Meta,
    pub(crate) salt: Salt,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) queue: Arc<Queue>,
    pub(crate) segments: Segments,
    pub(crate) shelves: Shelves,
    pub(crate) groups: Arc<Groups>,
    /// The keeper wants a new segment: the active one is old enough.
    pub(crate) roll_wanted: AtomicBool,
    closed: AtomicBool,
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "one call, at open")]
    pub(crate) fn new(
        config: EmbeddedConfig,
        meta: Meta,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        segments: Segments,
        shelves: Shelves,
        groups: Arc<Groups>,
    ) -> Self {
        Self {
            queue: Arc::new(Queue::new(config.append_queue_bytes)),
            salt: Salt::of(meta.log),
            config,
            meta,
            disk,
            clock,
            metrics,
            segments,
            shelves,
            groups,
            roll_wanted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }

    /// Refuses everything from now on and wakes whoever waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.queue.close();
        self.groups.close();
    }
}
