//! The three topics, and what makes a domain record fit into one of them.

use nimbus_core::{DeadLetter, Event, MarkKind, ResultRecord, ports::log::LogRecord};
use nimbus_envelope::Envelope;
use rdkafka::message::{Header, OwnedHeaders};

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

    /// What a reader chooses records by without decoding them. Nimbus itself reads the value alone.
    fn headers(&self) -> Option<OwnedHeaders> {
        None
    }
}

impl TopicRecord for Event {
    const TOPIC: Topic = Topic::Events;
}

impl TopicRecord for ResultRecord {
    const TOPIC: Topic = Topic::Results;
}

impl TopicRecord for DeadLetter {
    const TOPIC: Topic = Topic::DeadLetters;

    fn headers(&self) -> Option<OwnedHeaders> {
        let insert = |all: OwnedHeaders, key, value: &str| all.insert(Header { key, value: Some(value) });
        let none = OwnedHeaders::new();
        Some(match self.mark.as_ref().map(|mark| &mark.kind) {
            Some(MarkKind::Replayed { .. }) => insert(none, "nimbus-mark", "replayed"),
            Some(MarkKind::Purged) => insert(none, "nimbus-mark", "purged"),
            None => {
                let with_reason = insert(none, "nimbus-reason", &self.failure.reason);
                let with_event = insert(with_reason, "nimbus-event", self.event.name.as_str());
                insert(with_event, "nimbus-attempts", &self.attempts.to_string())
            }
        })
    }
}
