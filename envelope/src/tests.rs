//! The hand-written encoder against the generated types, and records through both directions.

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{
    ClientId, ContentType, DeadLetter, Event, EventName, Failure, Lane, Mark, MarkKind, Offset, Origin, OutboxId,
    PartKind, PrincipalId, ResultRecord, clock::UnixMillis,
};
use nimbus_proto::stored;
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

use crate::{Envelope, EnvelopeError, VERSION};

fn id() -> impl Strategy<Value = String> {
    vec(prop::sample::select(b"abcXYZ019._:@-".to_vec()), 1..40)
        .prop_map(|bytes| String::from_utf8(bytes).expect("ASCII"))
}

/// Short and long enough for lengths of one, two and three bytes.
fn blob() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..4), vec(any::<u8>(), 100..300), vec(any::<u8>(), 16_380..16_390)]
        .prop_map(Bytes::from)
}

fn words() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn origins() -> impl Strategy<Value = Arc<Origin>> {
    (id(), id(), any::<[u8; 16]>()).prop_map(|(client, principal, outbox)| {
        Arc::new(Origin {
            client: ClientId::try_new(&client).expect("drawn from the alphabet"),
            principal: PrincipalId::try_new(&principal).expect("drawn from the alphabet"),
            outbox: OutboxId::new(outbox),
        })
    })
}

fn failures() -> impl Strategy<Value = Failure> {
    (any::<i32>(), words(), words()).prop_map(|(code, reason, message)| Failure { code, reason, message })
}

pub(crate) fn events() -> impl Strategy<Value = Event> {
    let texts = (id(), words(), vec((words(), words()), 0..4), words());
    let numbers = (any::<u64>(), option::of(1..u64::MAX), any::<u64>(), any::<u32>());
    (origins(), texts, numbers, blob(), option::of(failures()), blob()).prop_map(
        |(origin, (name, content_type, attributes, traceparent), numbers, payload, refused, edge_context)| {
            let (seq, deadline, received, replay_no) = numbers;
            Event {
                origin,
                seq,
                name: EventName::try_new(&name).expect("drawn from the alphabet"),
                payload,
                content_type: ContentType::new(&content_type),
                attributes,
                deadline: deadline.map(UnixMillis),
                traceparent,
                received: UnixMillis(received),
                replay_no,
                refused: refused.map(Box::new),
                edge_context,
            }
        },
    )
}

fn kinds() -> impl Strategy<Value = PartKind> {
    prop::sample::select(vec![PartKind::Part, PartKind::Log, PartKind::Progress, PartKind::Final, PartKind::Error])
}

pub(crate) fn results() -> impl Strategy<Value = ResultRecord> {
    let lanes = prop::sample::select(vec![Lane::Ordered, Lane::Jobs]);
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    (events(), kinds(), lanes, numbers, option::of(failures())).prop_map(|(event, kind, lane, numbers, failure)| {
        let (attempt, part_no, event_offset, produced) = numbers;
        let mut record = ResultRecord::answering(&event, Offset(event_offset), lane, kind, UnixMillis(produced));
        record.attempt = attempt;
        record.part_no = part_no;
        record.payload = event.payload;
        record.content_type = event.content_type;
        record.attributes = event.attributes;
        record.failure = failure.map(Box::new);
        record
    })
}

fn marks() -> impl Strategy<Value = Mark> {
    let kinds =
        prop_oneof![any::<u32>().prop_map(|replay_no| MarkKind::Replayed { replay_no }), Just(MarkKind::Purged)];
    (kinds, any::<u64>()).prop_map(|(kind, at)| Mark { kind, at: UnixMillis(at) })
}

fn dead_letters() -> impl Strategy<Value = DeadLetter> {
    (events(), failures(), any::<u32>(), any::<u64>(), any::<u64>(), option::of(marks())).prop_map(
        |(event, failure, attempts, event_offset, failed, mark)| {
            let failed = UnixMillis(failed);
            let letter =
                DeadLetter { event, failure, attempts, event_offset: Offset(event_offset), failed, mark: None };
            mark.map_or_else(|| letter.clone(), |mark| letter.marked(mark))
        },
    )
}

/// Encodes, compares with what prost makes of it, and decodes again.
fn round_trip<R, P>(record: &R)
where
    R: Envelope + PartialEq + std::fmt::Debug,
    P: prost::Message + Default,
{
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert_eq!(bytes.len(), record.encoded_len());
    assert_ne!(bytes[0], 0, "a leading zero marks an erased record");
    let generated = P::decode(&bytes[..]).expect("the generated type reads it");
    assert_eq!(generated.encode_to_vec(), bytes, "the generated type writes the same");
    assert_eq!(&R::decode(&bytes).expect("readable"), record);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn events_round_trip(event in events()) {
        round_trip::<_, stored::EventEnvelope>(&event);
    }

    #[test]
    fn results_round_trip(result in results()) {
        round_trip::<_, stored::ResultEnvelope>(&result);
    }

    #[test]
    fn dead_letters_round_trip(letter in dead_letters()) {
        round_trip::<_, stored::DeadLetterEnvelope>(&letter);
    }

    #[test]
    fn a_mark_keeps_the_identity_of_its_letter_and_nothing_of_the_content(letter in dead_letters(), mark in marks()) {
        let content = Event { payload: vec![7; 100_000].into(), edge_context: vec![8; 1_000].into(), ..letter.event };
        let letter = DeadLetter { event: content, ..letter };
        let marked = letter.marked(mark);
        let identity = |letter: &DeadLetter| {
            let Event { origin, seq, replay_no, name, .. } = letter.event.clone();
            (origin, seq, replay_no, name, letter.event_offset)
        };
        assert_eq!(identity(&marked), identity(&letter));
        assert!(marked.mark == Some(mark) && marked.encoded_len() < 500, "{}", marked.encoded_len());
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_but_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop((Event::decode(&bytes), ResultRecord::decode(&bytes), DeadLetter::decode(&bytes)));
    }
}

fn valid() -> stored::ResultEnvelope {
    stored::ResultEnvelope {
        version: VERSION,
        origin: Some(stored::Origin {
            client_id: "c".into(),
            principal: "p".into(),
            outbox_id: Bytes::from_static(&[7; 16]),
        }),
        event_name: "sq".into(),
        kind: 4,
        lane: 1,
        ..Default::default()
    }
}

fn decode(envelope: &stored::ResultEnvelope) -> Result<ResultRecord, EnvelopeError> {
    ResultRecord::decode(&envelope.encode_to_vec())
}

#[test]
fn what_a_foreign_producer_got_wrong_is_named() {
    assert!(decode(&valid()).is_ok());

    assert_eq!(
        decode(&stored::ResultEnvelope { version: 2, ..valid() }),
        Err(EnvelopeError::NewerVersion { found: 2 })
    );
    assert_eq!(decode(&stored::ResultEnvelope { version: 0, ..valid() }), Err(EnvelopeError::Missing("version")));
    assert_eq!(decode(&stored::ResultEnvelope { origin: None, ..valid() }), Err(EnvelopeError::Missing("origin")));
    let unknown = EnvelopeError::UnknownValue { what: "kind", value: 9 };
    assert_eq!(decode(&stored::ResultEnvelope { kind: 9, ..valid() }), Err(unknown));
    let unknown = EnvelopeError::UnknownValue { what: "lane", value: 0 };
    assert_eq!(decode(&stored::ResultEnvelope { lane: 0, ..valid() }), Err(unknown));
    let message = decode(&stored::ResultEnvelope { event_name: "a b".into(), ..valid() }).unwrap_err().to_string();
    assert!(message.contains("event name"), "{message}");
    assert!(matches!(ResultRecord::decode(b"\xff"), Err(EnvelopeError::Malformed(_))));
}

#[test]
fn a_reader_ignores_fields_it_does_not_know() {
    let mut bytes = valid().encode_to_vec();
    bytes.extend([0xf8, 0x07, 0x01]);
    assert!(ResultRecord::decode(&bytes).is_ok());
}

/// Byte for byte what was written before there were marks.
#[test]
fn a_dead_letter_from_before_there_were_marks_has_none() {
    let stored::ResultEnvelope { version, origin, .. } = valid();
    let event = stored::EventEnvelope { version, origin, seq: 1, name: "sq".into(), ..Default::default() };
    let failure = stored::Failure { code: 13, reason: "R".into(), message: "m".into() };
    let letter =
        stored::DeadLetterEnvelope { version, event: Some(event), failure: Some(failure), ..Default::default() };
    assert_eq!(DeadLetter::decode(&letter.encode_to_vec()).map(|letter| letter.mark), Ok(None));

    let mark = stored::DeadLetterMark { kind: 9, ..Default::default() };
    let unknown = stored::DeadLetterEnvelope { mark: Some(mark), ..letter };
    let error = EnvelopeError::UnknownValue { what: "mark", value: 9 };
    assert_eq!(DeadLetter::decode(&unknown.encode_to_vec()), Err(error));
}
