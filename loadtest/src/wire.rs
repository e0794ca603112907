//! Messages that are the same on the wire as the generated ones and cost less: shared bytes instead of strings, and only
//! the fields that a load needs. What is left out is skipped when it is read.

use bytes::Bytes;
use nimbus_proto::v1;
use prost::Message;

/// `nimbus.EventRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct OriginalRequest {
    /// Which executor.
    #[prost(bytes = "bytes", tag = "1")]
    pub event_name: Bytes,
    /// Its input.
    #[prost(int32, tag = "2")]
    pub number: i32,
    /// The client's own number for the event.
    #[prost(uint64, tag = "10")]
    pub client_sequence: u64,
}

/// `nimbus.EventResponse`, without the name and the log.
#[derive(Clone, PartialEq, Message)]
pub struct OriginalResponse {
    /// The event's input.
    #[prost(int32, tag = "2")]
    pub number: i32,
    /// The result.
    #[prost(int32, tag = "3")]
    pub result: i32,
    /// Set when the event failed.
    #[prost(message, optional, boxed, tag = "11")]
    pub error: Option<Box<nimbus_proto::original::EventError>>,
    /// The request's number.
    #[prost(uint64, tag = "12")]
    pub client_sequence: u64,
}

/// `nimbus.v1.ClientFrame`.
#[derive(Clone, PartialEq, Message)]
pub struct ClientFrame {
    /// Opens the session.
    #[prost(message, optional, boxed, tag = "1")]
    pub hello: Option<Box<v1::Hello>>,
    /// One event.
    #[prost(message, optional, tag = "2")]
    pub event: Option<Event>,
    /// Cumulative acknowledgement.
    #[prost(message, optional, tag = "3")]
    pub ack: Option<v1::Ack>,
    /// The answer to a ping.
    #[prost(message, optional, tag = "4")]
    pub pong: Option<v1::Pong>,
}

/// `nimbus.v1.Event`.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// Which executor.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// Its input.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// What the input is.
    #[prost(bytes = "bytes", tag = "4")]
    pub content_type: Bytes,
}

/// `nimbus.v1.ServerFrame`.
#[derive(Clone, PartialEq, Message)]
pub struct ServerFrame {
    /// The answer to Hello.
    #[prost(message, optional, boxed, tag = "1")]
    pub welcome: Option<Box<v1::Welcome>>,
    /// Events became durable.
    #[prost(message, optional, tag = "2")]
    pub accepted: Option<v1::Accepted>,
    /// An event was not taken for now.
    #[prost(message, optional, boxed, tag = "3")]
    pub rejected: Option<Box<v1::Rejected>>,
    /// A result.
    #[prost(message, optional, tag = "4")]
    pub delivery: Option<Delivery>,
    /// Asks for a Pong.
    #[prost(message, optional, tag = "5")]
    pub ping: Option<v1::Ping>,
    /// The stream is about to end.
    #[prost(message, optional, tag = "6")]
    pub go_away: Option<v1::GoAway>,
}

/// `nimbus.v1.Delivery`, without pushes and attributes.
#[derive(Clone, PartialEq, Message)]
pub struct Delivery {
    /// The resume point past it.
    #[prost(uint64, tag = "1")]
    pub position: u64,
    /// What it answers.
    #[prost(message, optional, tag = "2")]
    pub result: Option<ResultOf>,
    /// Which part it is.
    #[prost(enumeration = "v1::PartKind", tag = "4")]
    pub kind: i32,
    /// The result.
    #[prost(bytes = "bytes", tag = "5")]
    pub payload: Bytes,
    /// What the payload is.
    #[prost(bytes = "bytes", tag = "6")]
    pub content_type: Bytes,
    /// Why there is none.
    #[prost(message, optional, boxed, tag = "7")]
    pub error: Option<Box<v1::Error>>,
}

/// `nimbus.v1.ResultOf`.
#[derive(Clone, PartialEq, Message)]
pub struct ResultOf {
    /// The outbox it was sent from.
    #[prost(bytes = "bytes", tag = "1")]
    pub outbox_id: Bytes,
    /// The event's number.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// Which attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The event's name.
    #[prost(bytes = "bytes", tag = "6")]
    pub event_name: Bytes,
    /// Whether answers come in the order of their events.
    #[prost(enumeration = "v1::Lane", tag = "7")]
    pub lane: i32,
}

#[cfg(test)]
mod tests {
    use nimbus_proto::original;
    use v1::{client_frame::Kind as Up, delivery::Source, server_frame::Kind as Down};

    use super::*;

    #[test]
    fn client_messages_are_those_of_the_protocol() {
        let lean = OriginalRequest { event_name: "sq".into(), number: -3, client_sequence: 9 };
        let full = original::EventRequest { event_name: "sq".into(), number: -3, client_sequence: 9 };
        assert_eq!(lean.encode_to_vec(), full.encode_to_vec());

        let event = Event { seq: 7, name: "sq".into(), payload: "12".into(), content_type: "t".into() };
        let lean = ClientFrame { event: Some(event), ..ClientFrame::default() };
        let event = v1::Event {
            seq: 7,
            name: "sq".to_owned(),
            payload: "12".into(),
            content_type: "t".to_owned(),
            ..v1::Event::default()
        };
        assert_eq!(lean.encode_to_vec(), v1::ClientFrame { kind: Some(Up::Event(event)) }.encode_to_vec());
    }

    #[test]
    fn server_messages_are_read_past_what_is_left_out() {
        let full = original::EventResponse {
            event_name: "sq".into(),
            number: 5,
            result: 25,
            log: Some(original::Log { step: vec![original::Step { message: "m".into(), ..Default::default() }] }),
            wide_result: Some(25),
            error: Some(original::EventError { code: 3, ..Default::default() }),
            client_sequence: 4,
        };
        let lean = OriginalResponse::decode(full.encode_to_vec().as_slice()).unwrap();
        assert_eq!((lean.number, lean.result, lean.client_sequence, lean.error.unwrap().code), (5, 25, 4, 3));

        let delivery = v1::Delivery {
            position: 8,
            source: Some(Source::Result(v1::ResultOf { seq: 7, replay_no: 2, ..Default::default() })),
            kind: v1::PartKind::Final as i32,
            payload: "144".into(),
            attributes: [("a".to_owned(), "b".to_owned())].into(),
            ..Default::default()
        };
        let full = v1::ServerFrame { kind: Some(Down::Delivery(delivery)) };
        let lean = ServerFrame::decode(full.encode_to_vec().as_slice()).unwrap().delivery.unwrap();
        assert_eq!((lean.position, lean.result.unwrap().seq, &lean.payload[..]), (8, 7, &b"144"[..]));
    }
}
