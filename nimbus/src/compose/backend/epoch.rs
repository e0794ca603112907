//! Which incarnation of the log this is: what Kafka keeps with the results topic, what Redis has folded in, and what to
//! do when they disagree.
//!
//! Kafka's word is deleted with the topic, so it is right whenever it is there, and a Redis that was emptied costs nobody
//! their place. Without it the topic is new, or the broker forgot the word: then what Redis last folded in is compared with
//! what the log holds in that place. `docs/adr/0006-log-epoch.md` has the cases.

use nimbus_consumers::Evidence;
use nimbus_core::LogEpoch;

/// What is to be done to know the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is this one, unless the log does not bear out what Redis remembers.
    Compare(LogEpoch),
    /// Nobody knows of one: the log is new.
    New,
}

/// Decides by what is kept where.
pub(super) const fn decide(kafka: Option<LogEpoch>, redis: Option<LogEpoch>) -> Decision {
    match (kafka, redis) {
        (Some(epoch), _) | (None, Some(epoch)) => Decision::Compare(epoch),
        (None, None) => Decision::New,
    }
}

/// Whether the log is still the one that Redis folded in.
pub(super) fn is_same(evidence: impl IntoIterator<Item = Evidence>) -> bool {
    evidence.into_iter().all(|found| found != Evidence::Other)
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    const A: LogEpoch = LogEpoch(Ulid(1));
    const B: LogEpoch = LogEpoch(Ulid(2));

    #[test]
    fn kafkas_word_counts_and_redis_is_asked_when_there_is_none() {
        assert_eq!(decide(Some(A), Some(B)), Decision::Compare(A));
        assert_eq!(decide(Some(A), None), Decision::Compare(A), "an emptied redis costs nobody their place");
        assert_eq!(decide(None, Some(B)), Decision::Compare(B), "a broker may forget");
        assert_eq!(decide(None, None), Decision::New);
    }

    #[test]
    fn one_partition_that_does_not_fit_makes_it_another_log() {
        use Evidence::{None, Other, Same};
        assert!(is_same([Same, None]) && is_same([None, None]));
        assert!(!is_same([Same, Other]) && !is_same([None, Other]));
    }
}
