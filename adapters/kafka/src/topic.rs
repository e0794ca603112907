//! The three topics, and what makes a domain record fit into one of them.

use nimbus_core::{DeadLetter, Event, ResultRecord, ports::log::LogRecord};
use nimbus_envelope::Envelope;

use crate::TopicNames;

/// One logical log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    Events,
    Results,
    DeadLetters,
}

impl Topic {
    /// Every topic.
    pub(crate) const ALL: [Self; 3] = [Self::Events, Self::Results, Self::DeadLetters];

    /// For tables with one entry a topic.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// For names of groups.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Results => "results",
            Self::DeadLetters => "dead-letters",
        }
    }
}

impl TopicNames {
    pub(crate) fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Events => &self.events,
            Topic::Results => &self.results,
            Topic::DeadLetters => &self.dead_letters,
        }
    }
}

/// A record that one of the topics carries.
pub(crate) trait TopicRecord: LogRecord + Envelope {
    const TOPIC: Topic;
}

impl TopicRecord for Event {
    const TOPIC: Topic = Topic::Events;
}

impl TopicRecord for ResultRecord {
    const TOPIC: Topic = Topic::Results;
}

impl TopicRecord for DeadLetter {
    const TOPIC: Topic = Topic::DeadLetters;
}
