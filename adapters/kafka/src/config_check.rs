//! Which settings cannot work, and which properties nobody may change because a guarantee rests on them.

use std::{collections::BTreeSet, time::Duration};

use crate::{KafkaConfig, OpenError};

/// The most partitions: each costs the brokers files and every member of a group a queue.
const MAX_PARTITIONS: u32 = 4096;

/// Properties that are set here, each for a promise of the port; with librdkafka's other names for them.
const OURS: &[&str] = &[
    // Durable before answered, in order, without gaps (rule 4).
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "retries",
    "message.send.max.retries",
    "transactional.id",
    "queuing.strategy",
    "produce.offset.report",
    "delivery.report.only.error",
    "partitioner",
    // A bounded queue that is accounted for here.
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    // What is read is durable, and nothing is skipped (rules 5 and 8).
    "isolation.level",
    "auto.offset.reset",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "check.crcs",
    // A follower does not know yet where the log ends, and its end would pass for a hole.
    "client.rack",
    // One owner of a partition at a time, who leaves in peace.
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    // Settings of their own.
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "allow.auto.create.topics",
    "message.max.bytes",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "receive.message.max.bytes",
    "batch.size",
    "linger.ms",
    "queue.buffering.max.ms",
    "compression.codec",
    "compression.type",
];

impl KafkaConfig {
    /// Checks what the types leave open.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if let Some((name, _)) = self.properties.iter().find(|(name, _)| OURS.contains(&name.as_str())) {
            return Err(OpenError::Property { name: name.clone() });
        }
        let wrong = |what: &str| Err(OpenError::Config(what.to_owned()));
        let names = [&self.topics.events, &self.topics.results, &self.topics.dead_letters];
        if self.brokers.trim().is_empty() {
            return wrong("no brokers are named");
        }
        if names.iter().any(|name| name.is_empty()) || names.iter().collect::<BTreeSet<_>>().len() < names.len() {
            return wrong("the three topics need three names");
        }
        if self.group_prefix.is_empty() {
            return wrong("the prefix of the consumer groups is empty");
        }
        if self.partitions.0.get() > MAX_PARTITIONS {
            return wrong("more than 4096 partitions are not supported");
        }
        if !(1 << 10..=256 << 20).contains(&self.max_record_bytes) {
            return wrong("the largest record must have 1 KiB to 256 MiB");
        }
        if self.session_timeout < Duration::from_millis(300) || self.release_limit < Duration::from_secs(1) {
            return wrong("the session timeout is at least 300 ms and the release limit at least 1 s");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str) -> KafkaConfig {
        KafkaConfig { properties: vec![(name.to_owned(), "x".to_owned())], ..KafkaConfig::new("localhost:9092") }
    }

    #[test]
    fn what_a_guarantee_rests_on_cannot_be_overridden() {
        for name in OURS {
            let error = with(name).check().unwrap_err();
            assert!(matches!(&error, OpenError::Property { name: told } if told == name), "{error}");
            assert!(error.to_string().contains(name));
        }
        with("security.protocol").check().unwrap();
        with("sasl.password").check().unwrap();
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = ("sasl.password".to_owned(), "hunter2".to_owned());
        let config = KafkaConfig { properties: vec![secret], ..with("x") };
        assert!(format!("{config:?}").contains("sasl.password"));
        assert!(!format!("{config:?}").contains("hunter2"));
        let unknown = ("no.such.property".to_owned(), "hunter2".to_owned());
        let error = crate::KafkaAdmin::try_new(KafkaConfig { properties: vec![unknown], ..config }).unwrap_err();
        assert!(error.to_string().contains("no.such.property") && !error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let config = KafkaConfig::new("localhost:9092");
        config.check().unwrap();
        for broken in [
            KafkaConfig { brokers: " ".into(), ..config.clone() },
            KafkaConfig { group_prefix: String::new(), ..config.clone() },
            KafkaConfig { max_record_bytes: 3, ..config.clone() },
            KafkaConfig { release_limit: Duration::ZERO, ..config.clone() },
            KafkaConfig {
                topics: crate::TopicNames { events: "nimbus.results".into(), ..config.topics.clone() },
                ..config
            },
        ] {
            assert!(matches!(broken.check(), Err(OpenError::Config(_))), "{broken:?}");
        }
    }
}
