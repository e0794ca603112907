//! The hot messages of the original protocol, written by hand: on the wire they are `EventRequest`, `EventResponse`, `Log`
//! and `Step` of `proto/nimbus/nimbus.proto`, where they are documented.
//!
//! The generated code makes a `String` of every text field: six allocations an answer. Here text is [`Bytes`], which a server
//! shares between answers. Whoever writes these fields must write UTF-8; whoever reads them may meet anything.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;

use crate::original::EventError;

/// One event.
#[derive(Clone, PartialEq, Message)]
pub struct EventRequest {
    /// Which executor handles it.
    #[prost(bytes = "bytes", tag = "1")]
    pub event_name: Bytes,
    /// Its input.
    #[prost(int32, tag = "2")]
    pub number: i32,
    /// The client's own number for this event.
    #[prost(uint64, tag = "10")]
    pub client_sequence: u64,
}

/// The answer to one event.
#[derive(Clone, PartialEq, Message)]
pub struct EventResponse {
    /// The event's name.
    #[prost(bytes = "bytes", tag = "1")]
    pub event_name: Bytes,
    /// The event's input.
    #[prost(int32, tag = "2")]
    pub number: i32,
    /// The result, where it fits.
    #[prost(int32, tag = "3")]
    pub result: i32,
    /// What happened to the event on its way.
    #[prost(message, optional, tag = "4")]
    pub log: Option<Log>,
    /// The result when it is an integer of up to 64 bits.
    #[prost(int64, optional, tag = "10")]
    pub wide_result: Option<i64>,
    /// Set when the event failed, or when the result does not fit into 32 bits.
    #[prost(message, optional, tag = "11")]
    pub error: Option<EventError>,
    /// The request's client_sequence.
    #[prost(uint64, tag = "12")]
    pub client_sequence: u64,
}

/// An [`EventResponse`] whose log is encoded already, so that many answers can share it: on the wire the two are the same, unless the log is empty.
#[derive(Clone, PartialEq, Message)]
pub struct LoggedResponse {
    /// As there.
    #[prost(bytes = "bytes", tag = "1")]
    pub event_name: Bytes,
    /// As there.
    #[prost(int32, tag = "2")]
    pub number: i32,
    /// As there.
    #[prost(int32, tag = "3")]
    pub result: i32,
    /// An encoded [`Log`].
    #[prost(bytes = "bytes", tag = "4")]
    pub log: Bytes,
    /// As there.
    #[prost(int64, optional, tag = "10")]
    pub wide_result: Option<i64>,
    /// As there.
    #[prost(message, optional, tag = "11")]
    pub error: Option<EventError>,
    /// As there.
    #[prost(uint64, tag = "12")]
    pub client_sequence: u64,
}

/// What happened to an event on its way.
#[derive(Clone, PartialEq, Message)]
pub struct Log {
    /// In time order.
    #[prost(message, repeated, tag = "1")]
    pub step: Vec<Step>,
}

/// One step on the way.
#[derive(Clone, PartialEq, Message)]
pub struct Step {
    /// When.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// Which part of the system.
    #[prost(bytes = "bytes", tag = "2")]
    pub service_name: Bytes,
    /// Which process.
    #[prost(bytes = "bytes", tag = "3")]
    pub instance_id: Bytes,
    /// Which function or executor.
    #[prost(bytes = "bytes", tag = "4")]
    pub method_name: Bytes,
    /// For people.
    #[prost(bytes = "bytes", tag = "5")]
    pub message: Bytes,
    /// Anything else.
    #[prost(map = "string, string", tag = "6")]
    pub metadata: HashMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers and names are those of the .proto file.
    #[test]
    fn the_fields_are_those_of_the_proto_file() {
        let set = prost_types::FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap();
        let file = set.file.iter().find(|file| file.package() == "nimbus").unwrap();
        let fields = |name: &str| {
            let message = file.message_type.iter().find(|message| message.name() == name).unwrap();
            let fields = message.field.iter().map(|field| format!("{} {}", field.number(), field.name()));
            fields.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(fields("EventRequest"), "1 event_name, 2 number, 10 client_sequence");
        let response = "1 event_name, 2 number, 3 result, 4 log, 10 wide_result, 11 error, 12 client_sequence";
        assert_eq!(fields("EventResponse"), response);
        assert_eq!(fields("Log"), "1 step");
        let step = "1 timestamp, 2 service_name, 3 instance_id, 4 method_name, 5 message, 6 metadata";
        assert_eq!(fields("Step"), step);
    }

    /// The bytes of an answer, put together by hand from the rules of the encoding.
    #[test]
    fn an_answer_is_encoded_as_the_proto_file_says() {
        let step = Step {
            timestamp: Some(Timestamp { seconds: 1, nanos: 2 }),
            service_name: Bytes::from_static(b"s"),
            instance_id: Bytes::from_static(b"i"),
            method_name: Bytes::from_static(b"m"),
            message: Bytes::from_static(b"t"),
            metadata: HashMap::from([("k".to_owned(), "v".to_owned())]),
        };
        let answer = EventResponse {
            event_name: Bytes::from_static(b"sq"),
            number: 3,
            result: 9,
            log: Some(Log { step: vec![step] }),
            wide_result: Some(9),
            error: Some(EventError { code: 3, reason: "R".to_owned(), message: "M".to_owned() }),
            client_sequence: 7,
        };
        let head = b"\x0a\x02sq\x10\x03\x18\x09".as_slice();
        let step = b"\x0a\x04\x08\x01\x10\x02\x12\x01s\x1a\x01i\x22\x01m\x2a\x01t\x32\x06\x0a\x01k\x12\x01v".as_slice();
        let length = u8::try_from(step.len()).unwrap();
        let log = [b"\x22".as_slice(), &[length + 2], b"\x0a", &[length], step].concat();
        let tail = b"\x50\x09\x5a\x08\x08\x03\x12\x01R\x1a\x01M\x60\x07".as_slice();
        let expected = [head, &log, tail].concat();
        assert_eq!(answer.encode_to_vec(), expected);
        assert_eq!(EventResponse::decode(expected.as_slice()).unwrap(), answer);
        let EventResponse { event_name, number, result, log, wide_result, error, client_sequence } = answer;
        let log = Bytes::from(log.unwrap().encode_to_vec());
        let logged = LoggedResponse { event_name, number, result, log, wide_result, error, client_sequence };
        assert_eq!(logged.encode_to_vec(), expected);
    }
}
