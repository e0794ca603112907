//! What librdkafka's errors mean for the port: whether something may have been stored, and whether trying again helps.

use nimbus_core::ports::log::LogError;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// What a failed append left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// The broker looked at it and refused it: nothing was stored.
    None,
    /// It may have been stored.
    Perhaps,
}

/// Whether an append that failed with this code may have been stored. librdkafka retries whatever can be retried for as
/// long as it takes, so that what arrives here is final. A record that was sent before may have been stored whatever was
/// said later; only what a broker refuses each time for what it is cannot.
pub(crate) const fn trace(code: RDKafkaErrorCode) -> Trace {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge
        | RDKafkaErrorCode::InvalidMessageSize
        | RDKafkaErrorCode::MessageBatchTooLarge
        | RDKafkaErrorCode::InvalidRecord => Trace::None,
        _ => Trace::Perhaps,
    }
}

/// Whether the broker takes no records of that size (any more).
pub(crate) const fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge
    )
}

/// The error of an append of which nothing was stored.
pub(crate) fn refused(code: RDKafkaErrorCode) -> LogError {
    match trace(code) {
        // It was attempted, so it is too late for a refusal. What is appended anew is looked at with the topic's new limit.
        Trace::None if is_too_large(code) => {
            LogError::Ambiguous(format!("the topic's max.message.bytes is lower than it was: {code}"))
        }
        Trace::None => LogError::Full(format!("the broker does not take a record like that: {code}")),
        Trace::Perhaps => LogError::Unavailable(code.to_string()),
    }
}

/// Whether a question to the broker, or a commit, may succeed when it is repeated by the same member.
pub(crate) const fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::TimedOutQueue
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::InProgress
            | RDKafkaErrorCode::PreviousInProgress
            | RDKafkaErrorCode::Retry
            | RDKafkaErrorCode::NodeUpdate
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
            | RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::NotEnoughReplicas
            | RDKafkaErrorCode::NotEnoughReplicasAfterAppend
            | RDKafkaErrorCode::UnstableOffsetCommit
            | RDKafkaErrorCode::KafkaStorageError
    )
}

/// Bytes on the broker's disk or on the wire that are not what was written.
pub(crate) const fn is_damage(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::LogTruncation
    )
}

/// What is wrong with the settings, without their values: some are secrets.
pub(crate) fn settings(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
        other => other.to_string(),
    }
}

/// The error of a question that got no answer.
pub(crate) fn unavailable(error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            LogError::Unavailable("the topic is not there any more".to_owned())
        }
        _ => LogError::Unavailable(settings(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_for_what_it_is_left_nothing_behind() {
        use RDKafkaErrorCode as Code;
        assert!(matches!(refused(Code::InvalidRecord), LogError::Full(_)));
        assert!(matches!(refused(Code::MessageSizeTooLarge), LogError::Ambiguous(_)), "it was attempted");
        assert!([Code::InvalidRecord, Code::MessageSizeTooLarge].into_iter().all(|code| trace(code) == Trace::None));
        // A timeout, a purge and a lost leader say nothing about what the broker did with it.
        let unknown = [
            Code::MessageTimedOut,
            Code::PurgeQueue,
            Code::PurgeInflight,
            Code::NotLeaderForPartition,
            Code::Fatal,
            Code::OutOfOrderSequenceNumber,
        ];
        assert!(unknown.into_iter().all(|code| trace(code) == Trace::Perhaps));
    }

    #[test]
    fn a_member_that_was_thrown_out_does_not_try_again() {
        use RDKafkaErrorCode as Code;
        assert!(is_passing(Code::RebalanceInProgress) && is_passing(Code::NotCoordinator));
        assert!(!is_passing(Code::IllegalGeneration) && !is_passing(Code::UnknownMemberId));
        assert!(!is_passing(Code::OffsetMetadataTooLarge) && !is_passing(Code::GroupAuthorizationFailed));
    }
}
