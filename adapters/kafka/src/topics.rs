//! What is found of the topics, and what that means: refused, warned of, or well.
//!
//! Pure: facts in, a verdict out. `admin.rs` gathers the facts.

use std::{num::NonZeroU32, time::Duration};

use crate::{KafkaConfig, OpenError, topic::Topic};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, but something that was promised does not hold in some failure.
    Warning,
}

/// One thing that was looked at, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it; empty when it is fine.
    pub remedy: String,
}

/// What survives the loss of a machine and goes on meanwhile.
const REPLICAS: u32 = 3;
/// Then what is accepted is on two machines.
const IN_SYNC: u32 = 2;

/// How topics that are made are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) replicas: u32,
    /// `None`: as the brokers are configured.
    pub(crate) in_sync: Option<u32>,
}

impl Copies {
    /// On a cluster of so many brokers.
    pub(crate) fn choose(config: &KafkaConfig, brokers: usize) -> Result<Self, OpenError> {
        let brokers = u32::try_from(brokers).unwrap_or(u32::MAX).max(1);
        let replicas = config.replication.map_or_else(|| REPLICAS.min(brokers), NonZeroU32::get);
        let asked = config.min_insync_replicas.map(NonZeroU32::get);
        match asked {
            Some(least) if least > replicas => Err(OpenError::Config(format!(
                "topics of {replicas} replicas could never take anything that {least} of them must confirm; there are \
                 {brokers} brokers just now"
            ))),
            asked => Ok(Self { replicas, in_sync: asked.or((replicas >= REPLICAS).then_some(IN_SYNC)) }),
        }
    }
}

/// What the broker says about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) partitions: u32,
    /// Of the partition that has the fewest.
    pub(crate) replicas: usize,
    pub(crate) cleanup_policy: String,
    /// `None`: for ever.
    pub(crate) retention: Option<Duration>,
    /// `None`: without a limit.
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) min_insync_replicas: u32,
    pub(crate) max_message_bytes: usize,
}

/// What all three topics allow, and what there is to say about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// By [`Topic::index`].
    pub(crate) max_record_bytes: [usize; 3],
    /// Of the events topic; `None`: for ever.
    pub(crate) events_retention: Option<Duration>,
    pub(crate) findings: Vec<Finding>,
}

/// Judges the topics; `facts` by [`Topic::index`].
pub(crate) fn judge(config: &KafkaConfig, facts: &[Facts; 3]) -> Result<Verdict, OpenError> {
    let [events, results, dead_letters] = [0, 1, 2].map(|index: usize| facts[index].partitions);
    let wanted = config.partitions.0.get();
    if events != results || results != dead_letters {
        return Err(OpenError::Unequal { events, results, dead_letters });
    }
    if events != wanted {
        return Err(OpenError::Partitions { found: events, wanted });
    }
    let mut findings = Vec::new();
    for topic in Topic::ALL {
        let (name, facts) = (config.topics.of(topic), &facts[topic.index()]);
        if facts.cleanup_policy.contains("compact") {
            return Err(OpenError::Compacted { topic: name.to_owned(), policy: facts.cleanup_policy.clone() });
        }
        let before = findings.len();
        findings.extend(warnings(config, name, facts));
        if findings.len() == before {
            let what = format!("topic {name}: {events} partitions, {}", shown(facts));
            findings.push(Finding { severity: Severity::Fine, what, remedy: String::new() });
        }
    }
    let max_record_bytes = [0, 1, 2].map(|index: usize| facts[index].max_message_bytes.min(config.max_record_bytes));
    let events_retention = facts[Topic::Events.index()].retention;
    Ok(Verdict { max_record_bytes, events_retention, findings })
}

/// What is fine about a topic.
fn shown(facts: &Facts) -> String {
    let Facts { replicas, min_insync_replicas: least, cleanup_policy: policy, .. } = facts;
    let kept = facts.retention.map_or("-1".to_owned(), |kept| kept.as_millis().to_string());
    format!("{replicas} replicas, min.insync.replicas {least}, cleanup.policy {policy}, retention.ms {kept}")
}

fn warnings(config: &KafkaConfig, name: &str, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |what: String, remedy: String| {
        let what = format!("topic {name}: {what}");
        findings.push(Finding { severity: Severity::Warning, what, remedy });
    };
    if facts.replicas < 2 {
        warn(
            "1 replica: what is accepted does not survive the loss of its broker".to_owned(),
            "give it 3 replicas (kafka-reassign-partitions)".to_owned(),
        );
    } else if facts.min_insync_replicas < 2 {
        warn(
            "min.insync.replicas is 1: what is accepted may be on one broker only".to_owned(),
            "set min.insync.replicas to 2".to_owned(),
        );
    } else if facts.min_insync_replicas as usize >= facts.replicas {
        let (least, replicas) = (facts.min_insync_replicas, facts.replicas);
        warn(
            format!("min.insync.replicas is {least} of {replicas}: nothing is accepted while a broker is down"),
            "give it one more replica, or lower min.insync.replicas".to_owned(),
        );
    }
    if let Some(kept) = facts.retention.filter(|kept| *kept < config.retention) {
        let (kept, wanted) = (kept.as_secs(), config.retention.as_secs());
        warn(
            format!("retention.ms is {kept} s, the configuration says {wanted} s: clients away for longer have a gap"),
            format!("set retention.ms to {}", config.retention.as_millis()),
        );
    }
    if let Some(bytes) = facts.retention_bytes {
        warn(
            format!("retention.bytes is {bytes} for each partition: how long records are kept depends on the load"),
            "set retention.bytes to -1, and watch the disk".to_owned(),
        );
    }
    if facts.max_message_bytes < config.max_record_bytes {
        let (most, wanted) = (facts.max_message_bytes, config.max_record_bytes);
        warn(
            format!("max.message.bytes is {most}, the configuration says {wanted}: larger records are refused"),
            format!("set max.message.bytes to {wanted}"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> KafkaConfig {
        KafkaConfig::new("localhost:9092")
    }

    fn good() -> Facts {
        Facts {
            partitions: 16,
            replicas: 3,
            cleanup_policy: "delete".to_owned(),
            retention: Some(config().retention),
            retention_bytes: None,
            min_insync_replicas: 2,
            max_message_bytes: config().max_record_bytes,
        }
    }

    fn with(change: impl Fn(&mut Facts)) -> Result<Verdict, OpenError> {
        let mut facts = [good(), good(), good()];
        change(&mut facts[Topic::Results.index()]);
        judge(&config(), &facts)
    }

    #[test]
    fn topics_are_made_to_survive_a_machine_where_there_are_enough() {
        let number = NonZeroU32::new;
        let chosen = |replication, min_insync_replicas, brokers| {
            Copies::choose(&KafkaConfig { replication, min_insync_replicas, ..config() }, brokers)
                .map(|Copies { replicas, in_sync }| (replicas, in_sync))
        };
        assert_eq!(chosen(None, None, 1).unwrap(), (1, None));
        assert_eq!(chosen(None, None, 2).unwrap(), (2, None), "with 2 of 2 nothing would go on without one");
        assert_eq!(chosen(None, None, 3).unwrap(), (3, Some(2)));
        assert_eq!(chosen(None, None, 7).unwrap(), (3, Some(2)));
        assert_eq!(chosen(number(5), None, 7).unwrap(), (5, Some(2)));
        assert_eq!(chosen(number(5), number(3), 7).unwrap(), (5, Some(3)));
        let never = chosen(None, number(2), 1).unwrap_err();
        assert!(matches!(&never, OpenError::Config(why) if why.contains("1 brokers")), "{never}");
    }

    #[test]
    fn good_topics_are_fine() {
        let verdict = with(|_| ()).unwrap();
        assert!(verdict.findings.iter().all(|finding| finding.severity == Severity::Fine));
        assert_eq!((verdict.findings.len(), verdict.max_record_bytes), (3, [config().max_record_bytes; 3]));
        with(|facts| facts.retention = None).unwrap();
    }

    #[test]
    fn what_would_change_the_order_is_refused_and_the_remedy_named() {
        let unequal = with(|facts| facts.partitions = 8).unwrap_err();
        assert!(matches!(unequal, OpenError::Unequal { events: 16, results: 8, dead_letters: 16 }), "{unequal}");
        let few = Facts { partitions: 8, ..good() };
        let other = judge(&config(), &[few.clone(), few.clone(), few]).unwrap_err();
        assert!(other.to_string().contains("set it to 8"), "{other}");
        for policy in ["compact", "compact,delete"] {
            let compacted = with(|facts| facts.cleanup_policy = policy.to_owned()).unwrap_err();
            assert!(compacted.to_string().contains("nimbus.results"), "{compacted}");
        }
    }

    #[test]
    fn what_holds_only_without_failures_is_warned_of() {
        type Change = fn(&mut Facts);
        let changes: [(Change, &str); 6] = [
            (|facts| facts.replicas = 1, "1 replica"),
            (|facts| facts.min_insync_replicas = 1, "min.insync.replicas is 1"),
            (|facts| facts.min_insync_replicas = 3, "3 of 3"),
            (|facts| facts.retention = Some(Duration::from_secs(60)), "retention.ms is 60 s"),
            (|facts| facts.retention_bytes = Some(1 << 30), "retention.bytes"),
            (|facts| facts.max_message_bytes = 1000, "max.message.bytes is 1000"),
        ];
        for (change, expected) in changes {
            let findings = with(change).unwrap().findings;
            let warnings: Vec<_> = findings.iter().filter(|found| found.severity == Severity::Warning).collect();
            assert_eq!(warnings.len(), 1, "{findings:?}");
            assert!(warnings[0].what.contains(expected) && !warnings[0].remedy.is_empty(), "{findings:?}");
        }
        let own = config().max_record_bytes;
        assert_eq!(with(|facts| facts.max_message_bytes = 1000).unwrap().max_record_bytes, [own, 1000, own]);
    }
}
