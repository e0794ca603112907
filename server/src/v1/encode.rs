//! From the session's frames to v1 frames.

use bytes::Bytes;
use nimbus_core::{
    Lane, OutboxId, PartKind, ResultRecord,
    ports::log::Stored,
    session::{GoAwayReason, Rejected, ResumeOutcome, Welcome},
};
use nimbus_proto::v1::{self, delivery::Source, server_frame::Kind};

use crate::{config::EdgeConfig, stream::wire_token};

/// What a go-away client waits at least, in milliseconds, before it reconnects.
const GO_AWAY_RETRY_MS: u32 = 250;

pub(super) fn welcome(welcome: &Welcome, config: &EdgeConfig, epoch: nimbus_core::LogEpoch) -> Kind {
    let (outcome, gap) = match welcome.outcome {
        ResumeOutcome::New => (v1::ResumeOutcome::New, None),
        ResumeOutcome::Resumed => (v1::ResumeOutcome::Resumed, None),
        ResumeOutcome::FromLog => (v1::ResumeOutcome::FromLog, None),
        ResumeOutcome::Gap { from, to } => (v1::ResumeOutcome::Gap, Some(v1::Gap { from: from.0, to: to.0 })),
    };
    let limits = v1::Limits {
        max_payload_bytes: saturated(config.limits.max_payload_bytes),
        max_in_flight: saturated(config.limits.max_in_flight),
        receive_window: welcome.receive_window,
    };
    Kind::Welcome(v1::Welcome {
        server_id: config.server.to_string(),
        accepted_seq: welcome.accepted_seq,
        resume_outcome: outcome.into(),
        gap,
        resume_token: wire_token(epoch, &welcome.token),
        limits: Some(limits),
        ping_interval_ms: u32::try_from(config.limits.ping_interval.as_millis()).unwrap_or(u32::MAX),
        position: welcome.position.0,
        session_id: welcome.session.to_string(),
    })
}

pub(super) fn rejected(rejected: Rejected) -> Kind {
    Kind::Rejected(v1::Rejected {
        seq: rejected.seq,
        code: rejected.reason.class().code(),
        reason: rejected.reason.as_str().to_owned(),
        message: rejected.message,
        retry_after_ms: u32::try_from(rejected.retry_after.as_millis()).unwrap_or(u32::MAX),
    })
}

pub(super) fn go_away(reason: GoAwayReason) -> Kind {
    let (reason, retry_after_ms) = match reason {
        // Sessions are told one after the other, and any other server takes them at once.
        GoAwayReason::Draining => (v1::GoAwayReason::Draining, 0),
        GoAwayReason::Superseded => (v1::GoAwayReason::Superseded, 0),
        GoAwayReason::Reset => (v1::GoAwayReason::Reset, GO_AWAY_RETRY_MS),
    };
    Kind::GoAway(v1::GoAway { reason: reason.into(), retry_after_ms })
}

/// Encodes deliveries; remembers the outbox's bytes, which nearly always repeat.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    outbox: Option<(OutboxId, Bytes)>,
}

impl Deliveries {
    pub(super) fn encode(&mut self, stored: &Stored<ResultRecord>) -> Kind {
        let Stored { offset, record } = stored;
        let outbox_id = self.outbox_bytes(record.origin.outbox);
        let kind = match record.kind {
            PartKind::Part => v1::PartKind::Part,
            PartKind::Log => v1::PartKind::Log,
            PartKind::Progress => v1::PartKind::Progress,
            PartKind::Final => v1::PartKind::Final,
            PartKind::Error => v1::PartKind::Error,
        };
        let lane = match record.lane {
            Lane::Ordered => v1::Lane::Ordered,
            Lane::Jobs => v1::Lane::Jobs,
        };
        let error = record.failure.clone().map(|failure| v1::Error {
            code: failure.code,
            reason: failure.reason,
            message: failure.message,
        });
        Kind::Delivery(v1::Delivery {
            position: offset.position_after().0,
            source: Some(Source::Result(v1::ResultOf {
                outbox_id,
                seq: record.seq,
                attempt: record.attempt,
                part_no: record.part_no,
                replay_no: record.replay_no,
                event_name: record.event_name.as_str().to_owned(),
                lane: lane.into(),
            })),
            kind: kind.into(),
            payload: record.payload.clone(),
            content_type: record.content_type.as_str().to_owned(),
            error,
            attributes: record.attributes.iter().cloned().collect(),
        })
    }

    fn outbox_bytes(&mut self, outbox: OutboxId) -> Bytes {
        match &self.outbox {
            Some((known, bytes)) if *known == outbox => bytes.clone(),
            Some(_) | None => {
                let bytes = Bytes::copy_from_slice(outbox.as_bytes());
                self.outbox = Some((outbox, bytes.clone()));
                bytes
            }
        }
    }
}

fn saturated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
