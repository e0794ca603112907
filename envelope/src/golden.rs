//! What version 1 writes, pinned byte for byte: files in `golden/` that are never made anew. Every later build reads them,
//! and as long as it writes version 1 it writes them; that is what lets old and new run side by side while a deployment
//! is rolled, and what lets it be rolled back.

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{
    Attributes, ClientId, ContentType, DeadLetter, Event, EventName, Failure, Lane, Offset, Origin, OutboxId, PartKind,
    PrincipalId, ResultRecord, clock::UnixMillis,
};

use crate::{Envelope, VERSION};

const EVENT: &str = include_str!("../golden/event-v1.hex");
const RESULT: &str = include_str!("../golden/result-v1.hex");
/// From before dead letters had marks.
const DEAD_LETTER: &str = include_str!("../golden/dead-letter-v1.hex");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn event(seq: u64, name: &str, payload: &'static str) -> Event {
    Event {
        origin: Arc::new(Origin {
            client: ClientId::try_new("veteran").unwrap(),
            principal: PrincipalId::try_new("anyone").unwrap(),
            outbox: OutboxId::new([1; 16]),
        }),
        seq,
        name: EventName::try_new(name).unwrap(),
        payload: Bytes::from_static(payload.as_bytes()),
        content_type: ContentType::new(""),
        attributes: Attributes::new(),
        deadline: None,
        traceparent: String::new(),
        received: UnixMillis(1_760_000_000_000),
        replay_no: 0,
        refused: None,
        edge_context: Bytes::new(),
    }
}

/// Both ways: read as what it was, and written as it was.
fn pinned<R: Envelope + PartialEq + std::fmt::Debug>(golden: &str, record: &R) {
    let golden = bytes(golden);
    assert_eq!(&R::decode(&golden).unwrap(), record);
    assert_eq!(VERSION, 1, "another version has golden files of its own, and these are read as before");
    let mut written = Vec::new();
    record.encode(&mut written);
    assert_eq!(written, golden, "an older build on the same topics could not rely on what is written now");
}

#[test]
fn an_event_of_version_1_is_read_and_written_as_it_was() {
    let event = Event {
        content_type: ContentType::new("application/json"),
        attributes: [("k".to_owned(), "v".to_owned())].into_iter().collect(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        ..event(1, "sq", "12")
    };
    pinned(EVENT, &event);
}

#[test]
fn a_result_of_version_1_is_read_and_written_as_it_was() {
    let mut result = ResultRecord::answering(
        &event(2, "sq", "7"),
        Offset(1),
        Lane::Ordered,
        PartKind::Final,
        UnixMillis(1_760_000_000_001),
    );
    result.attempt = 1;
    result.payload = Bytes::from_static(b"49");
    result.content_type = ContentType::new("application/json");
    pinned(RESULT, &result);
}

#[test]
fn a_dead_letter_from_before_marks_is_read_and_written_as_it_was() {
    let failure = Failure { code: 9, reason: "POISON".to_owned(), message: "as it was told".to_owned() };
    let letter = DeadLetter {
        event: event(7, "fail", r#"{"kind":"poison"}"#),
        failure,
        attempts: 1,
        event_offset: Offset(41),
        failed: UnixMillis(1_760_000_000_002),
        mark: None,
    };
    pinned(DEAD_LETTER, &letter);
}
