//! Frames of `nimbus.v1` as a load needs them.

use std::collections::HashMap;

use bytes::Bytes;
use nimbus_proto::v1::{self, ServerFrame, delivery::Source, server_frame::Kind};

pub(crate) const fn frame(kind: Kind) -> ServerFrame {
    ServerFrame { kind: Some(kind) }
}

/// A session that begins with nothing and has room for whatever the client wants outstanding.
pub(crate) fn welcome(server_id: &str, hello: &v1::Hello) -> ServerFrame {
    frame(Kind::Welcome(v1::Welcome {
        server_id: server_id.to_owned(),
        accepted_seq: 0,
        resume_outcome: v1::ResumeOutcome::New as i32,
        gap: None,
        resume_token: Bytes::new(),
        limits: Some(v1::Limits {
            max_payload_bytes: 1024 * 1024,
            max_in_flight: 1024,
            receive_window: hello.receive_window,
        }),
        ping_interval_ms: 25_000,
        position: 0,
        session_id: String::new(),
    }))
}

pub(crate) const fn accepted(up_to_seq: u64) -> ServerFrame {
    frame(Kind::Accepted(v1::Accepted { up_to_seq }))
}

/// The number in a payload. Nothing: it is none.
pub(crate) fn number(payload: &[u8]) -> Option<i64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

/// The answer to one event.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outbox_id: Bytes,
    pub(crate) seq: u64,
    pub(crate) event_name: String,
    pub(crate) content_type: String,
    /// Nothing: there is none, and that is the answer.
    pub(crate) square: Option<i64>,
}

pub(crate) fn delivery(answer: Answer, position: u64) -> ServerFrame {
    let result = v1::ResultOf {
        outbox_id: answer.outbox_id,
        seq: answer.seq,
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        event_name: answer.event_name,
        lane: v1::Lane::Ordered.into(),
    };
    let (kind, payload, error) = match answer.square {
        Some(square) => (v1::PartKind::Final, Bytes::from(square.to_string()), None),
        None => {
            let error = v1::Error { code: 3, reason: "INVALID_PAYLOAD".to_owned(), message: String::new() };
            (v1::PartKind::Error, Bytes::new(), Some(error))
        }
    };
    frame(Kind::Delivery(v1::Delivery {
        position,
        source: Some(Source::Result(result)),
        kind: kind as i32,
        payload,
        content_type: answer.content_type,
        error,
        attributes: HashMap::new(),
    }))
}
