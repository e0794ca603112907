//! Stored bytes as domain records: protobuf first, then every promise of the domain types.

use std::sync::Arc;

use nimbus_core::{
    Attributes, ClientId, ContentType, DeadLetter, Event, EventName, Failure, Lane, Mark, MarkKind, Offset, Origin,
    OutboxId, PartKind, PrincipalId, ResultRecord, clock::UnixMillis,
};
use nimbus_proto::stored::{self, dead_letter_mark, result_envelope};
use prost::Message as _;

use crate::{EnvelopeError, VERSION, quick};

pub(crate) fn event(bytes: &[u8]) -> Result<Event, EnvelopeError> {
    quick::event(bytes).or_else(|quick::Other| generated_event(bytes))
}

pub(crate) fn result(bytes: &[u8]) -> Result<ResultRecord, EnvelopeError> {
    quick::result(bytes).or_else(|quick::Other| generated_result(bytes))
}

/// In whatever form protobuf allows.
pub(crate) fn generated_event(bytes: &[u8]) -> Result<Event, EnvelopeError> {
    from_event(stored::EventEnvelope::decode(bytes).map_err(malformed)?)
}

/// As [`generated_event`].
pub(crate) fn generated_result(bytes: &[u8]) -> Result<ResultRecord, EnvelopeError> {
    let envelope = stored::ResultEnvelope::decode(bytes).map_err(malformed)?;
    check_version(envelope.version)?;
    Ok(ResultRecord {
        origin: origin(envelope.origin)?,
        seq: envelope.seq,
        event_name: EventName::try_new(&envelope.event_name)?,
        attempt: envelope.attempt,
        part_no: envelope.part_no,
        replay_no: envelope.replay_no,
        kind: kind(envelope.kind)?,
        lane: lane(envelope.lane)?,
        payload: envelope.payload,
        content_type: ContentType::new(&envelope.content_type),
        attributes: attributes(envelope.attributes),
        failure: envelope.failure.map(|wire| Box::new(failure(wire))),
        event_offset: Offset(envelope.event_offset),
        produced: UnixMillis(envelope.produced_unix_ms),
        edge_context: envelope.edge_context,
    })
}

pub(crate) fn dead_letter(bytes: &[u8]) -> Result<DeadLetter, EnvelopeError> {
    let envelope = stored::DeadLetterEnvelope::decode(bytes).map_err(malformed)?;
    check_version(envelope.version)?;
    Ok(DeadLetter {
        event: from_event(envelope.event.ok_or(EnvelopeError::Missing("event"))?)?,
        failure: failure(envelope.failure.ok_or(EnvelopeError::Missing("failure"))?),
        attempts: envelope.attempts,
        event_offset: Offset(envelope.event_offset),
        failed: UnixMillis(envelope.failed_unix_ms),
        mark: envelope.mark.map(mark).transpose()?,
    })
}

fn mark(mark: stored::DeadLetterMark) -> Result<Mark, EnvelopeError> {
    use dead_letter_mark::Kind;
    let kind = match Kind::try_from(mark.kind) {
        Ok(Kind::Replayed) => MarkKind::Replayed { replay_no: mark.replay_no },
        Ok(Kind::Purged) => MarkKind::Purged,
        Ok(Kind::Unspecified) | Err(_) => {
            return Err(EnvelopeError::UnknownValue { what: "mark", value: mark.kind.into() });
        }
    };
    Ok(Mark { kind, at: UnixMillis(mark.at_unix_ms) })
}

fn from_event(envelope: stored::EventEnvelope) -> Result<Event, EnvelopeError> {
    check_version(envelope.version)?;
    Ok(Event {
        origin: origin(envelope.origin)?,
        seq: envelope.seq,
        name: EventName::try_new(&envelope.name)?,
        payload: envelope.payload,
        content_type: ContentType::new(&envelope.content_type),
        attributes: attributes(envelope.attributes),
        deadline: (envelope.deadline_unix_ms > 0).then_some(UnixMillis(envelope.deadline_unix_ms)),
        traceparent: envelope.traceparent,
        received: UnixMillis(envelope.received_unix_ms),
        replay_no: envelope.replay_no,
        refused: envelope.refused.map(|wire| Box::new(failure(wire))),
        edge_context: envelope.edge_context,
    })
}

fn malformed(error: prost::DecodeError) -> EnvelopeError {
    EnvelopeError::Malformed(error.to_string())
}

fn check_version(found: u32) -> Result<(), EnvelopeError> {
    match found {
        0 => Err(EnvelopeError::Missing("version")),
        1..=VERSION => Ok(()),
        _ => Err(EnvelopeError::NewerVersion { found }),
    }
}

fn origin(origin: Option<stored::Origin>) -> Result<Arc<Origin>, EnvelopeError> {
    let origin = origin.ok_or(EnvelopeError::Missing("origin"))?;
    Ok(Arc::new(Origin {
        client: ClientId::try_new(&origin.client_id)?,
        principal: PrincipalId::try_new(&origin.principal)?,
        outbox: OutboxId::try_new(&origin.outbox_id)?,
    }))
}

fn failure(failure: stored::Failure) -> Failure {
    Failure { code: failure.code, reason: failure.reason, message: failure.message }
}

fn attributes(attributes: Vec<stored::Attribute>) -> Attributes {
    attributes.into_iter().map(|attribute| (attribute.key, attribute.value)).collect()
}

pub(crate) fn kind(value: i32) -> Result<PartKind, EnvelopeError> {
    use result_envelope::Kind;
    match Kind::try_from(value) {
        Ok(Kind::Part) => Ok(PartKind::Part),
        Ok(Kind::Log) => Ok(PartKind::Log),
        Ok(Kind::Progress) => Ok(PartKind::Progress),
        Ok(Kind::Final) => Ok(PartKind::Final),
        Ok(Kind::Error) => Ok(PartKind::Error),
        Ok(Kind::Unspecified) | Err(_) => Err(EnvelopeError::UnknownValue { what: "kind", value: value.into() }),
    }
}

pub(crate) fn lane(value: i32) -> Result<Lane, EnvelopeError> {
    use result_envelope::Lane as Stored;
    match Stored::try_from(value) {
        Ok(Stored::Ordered) => Ok(Lane::Ordered),
        Ok(Stored::Jobs) => Ok(Lane::Jobs),
        Ok(Stored::Unspecified) | Err(_) => Err(EnvelopeError::UnknownValue { what: "lane", value: value.into() }),
    }
}
