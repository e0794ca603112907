//! The three topics of the one physical log, and what makes a domain record fit into one of them.

use std::sync::Arc;

use nimbus_core::{
    DeadLetter, Event, Partition, ResultRecord,
    ports::log::{LogRecord, Stored},
};
use nimbus_envelope::{Envelope, EnvelopeError};

/// One logical log. The number stands on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Events, as accepted.
    Events = 1,
    /// Results.
    Results = 2,
    /// Events that failed for good.
    DeadLetters = 3,
}

impl Topic {
    /// Every topic.
    pub(crate) const ALL: [Self; 3] = [Self::Events, Self::Results, Self::DeadLetters];

    /// The topic with this number on disk.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| *topic as u8 == number)
    }

    /// For tables with one entry a topic.
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    /// For people and metric labels.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Results => "results",
            Self::DeadLetters => "dead_letters",
        }
    }
}

/// One partition of one topic: within it records have an order and offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Strand {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
}

impl Strand {
    /// For tables with one entry a strand, given how many partitions a topic has.
    pub(crate) fn index(self, partitions: usize) -> usize {
        self.topic.index() * partitions + self.partition.0 as usize
    }

    /// Every strand, in the order of [`index`](Self::index).
    pub(crate) fn all(partitions: u32) -> impl Iterator<Item = Self> {
        Topic::ALL
            .into_iter()
            .flat_map(move |topic| (0..partitions).map(move |p| Self { topic, partition: Partition(p) }))
    }
}

/// Records of one topic on their way through the writer, which does not look inside.
#[derive(Debug)]
pub(crate) enum Records {
    Events(Vec<Event>),
    /// Events that were shown to somebody before they were written.
    Shown(Arc<[Stored<Event>]>),
    Results(Vec<ResultRecord>),
    DeadLetters(Vec<DeadLetter>),
}

impl Records {
    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        match self {
            Self::Events(records) => records.reserve_exact(more),
            Self::Results(records) => records.reserve_exact(more),
            Self::DeadLetters(records) => records.reserve_exact(more),
            Self::Shown(_) => {}
        }
    }

    /// Puts `more`, of the same topic, behind these.
    pub(crate) fn extend(&mut self, more: Self) {
        match (self, more) {
            (Self::Events(records), Self::Events(more)) => records.extend(more),
            (Self::Results(records), Self::Results(more)) => records.extend(more),
            (Self::DeadLetters(records), Self::DeadLetters(more)) => records.extend(more),
            _ => unreachable!("records of one strand are of one topic"),
        }
    }
}

/// A record that one of the topics carries.
pub(crate) trait TopicRecord: LogRecord {
    const TOPIC: Topic;

    fn wrap(records: Vec<Self>) -> Records;
    fn encode(&self, out: &mut Vec<u8>);
    fn encoded_len(&self) -> usize;
    fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError>;
}

macro_rules! topic_record {
    ($record:ty, $topic:ident) => {
        impl TopicRecord for $record {
            const TOPIC: Topic = Topic::$topic;

            fn wrap(records: Vec<Self>) -> Records {
                Records::$topic(records)
            }

            fn encode(&self, out: &mut Vec<u8>) {
                Envelope::encode(self, out);
            }

            fn encoded_len(&self) -> usize {
                Envelope::encoded_len(self)
            }

            fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
                Envelope::decode(bytes)
            }
        }
    };
}

topic_record!(Event, Events);
topic_record!(ResultRecord, Results);
topic_record!(DeadLetter, DeadLetters);
