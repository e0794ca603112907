//! The two protocols, as far as a load cares.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use nimbus_proto::v1::{self, PartKind};
use prost::Message;

use crate::{
    answers::{self, Inputs},
    wire,
};

/// What a message says.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An answer. `seq` 0: the server does not say to which event, so it is the next one.
    /// `ordered`: those like it come in the order of their events.
    Answer { seq: u64, right: bool, failed: bool, ordered: bool, position: u64 },
    /// The session is open.
    Open(Opened),
    /// Every event up to this one is accepted.
    Accepted { seq: u64 },
    /// Send from this event again, after a while.
    Rejected { seq: u64, after: Duration },
    /// Wants a pong.
    Ping,
    /// Nothing that matters here.
    Other,
}

/// What a server says of a session that it opens.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// Deliveries that may be unacknowledged.
    pub(crate) receive_window: u32,
    /// Events that may be unaccepted.
    pub(crate) max_in_flight: u64,
    /// Every event up to this one is accepted.
    pub(crate) accepted: u64,
    /// Deliveries follow from here.
    pub(crate) position: u64,
    /// Deliveries are missing before that.
    pub(crate) has_gap: bool,
    /// To be given back at the next one.
    pub(crate) token: Bytes,
}

/// Where a session ended: everything before is done.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    pub(crate) token: Bytes,
    pub(crate) position: u64,
    pub(crate) answered: u64,
}

/// One protocol.
pub(crate) trait Dialect: Debug + Send + Sync + Sized + 'static {
    type Up: Message + 'static;
    type Down: Message + Default + 'static;
    const PATH: &'static str;
    /// Whether events must wait for [`Heard::Open`].
    const OPENS: bool;

    /// The next session after one that was left; nothing where there are no sessions.
    fn next(&self, left: Left) -> Option<Self>;
    fn opening(&self) -> Option<Self::Up>;
    fn event(&self, seq: u64) -> Self::Up;
    fn ack(&self, position: u64) -> Option<Self::Up>;
    fn pong(&self) -> Option<Self::Up>;
    /// `expected`: the event that comes next if the server does not say.
    fn hear(&self, message: Self::Down, expected: u64) -> Heard;
}

/// `nimbus.v1.Gateway/Session`.
#[derive(Debug)]
pub(crate) struct V1 {
    pub(crate) hello: v1::Hello,
    pub(crate) stream: u64,
    pub(crate) inputs: std::sync::Arc<Inputs>,
}

const JSON: Bytes = Bytes::from_static(b"application/json");

impl Dialect for V1 {
    type Up = wire::ClientFrame;
    type Down = wire::ServerFrame;
    const PATH: &'static str = "/nimbus.v1.Gateway/Session";
    const OPENS: bool = true;

    fn next(&self, left: Left) -> Option<Self> {
        let Left { token, position, answered } = left;
        let hello = v1::Hello {
            session_no: self.hello.session_no + 1,
            first_unaccepted: answered + 1,
            resume: Some(v1::Resume { token, position, answered, answered_beyond: Vec::new() }),
            ..self.hello.clone()
        };
        Some(Self { hello, stream: self.stream, inputs: std::sync::Arc::clone(&self.inputs) })
    }

    fn opening(&self) -> Option<Self::Up> {
        Some(wire::ClientFrame { hello: Some(Box::new(self.hello.clone())), ..wire::ClientFrame::default() })
    }

    fn event(&self, seq: u64) -> Self::Up {
        let event = wire::Event {
            seq,
            name: self.inputs.name(self.stream, seq),
            payload: self.inputs.payload(seq),
            content_type: JSON,
        };
        wire::ClientFrame { event: Some(event), ..wire::ClientFrame::default() }
    }

    fn ack(&self, position: u64) -> Option<Self::Up> {
        Some(wire::ClientFrame { ack: Some(v1::Ack { position }), ..wire::ClientFrame::default() })
    }

    fn pong(&self) -> Option<Self::Up> {
        Some(wire::ClientFrame { pong: Some(v1::Pong {}), ..wire::ClientFrame::default() })
    }

    fn hear(&self, message: Self::Down, _: u64) -> Heard {
        if let Some(delivery) = message.delivery {
            let failed = match PartKind::try_from(delivery.kind) {
                Ok(PartKind::Final) => false,
                Ok(PartKind::Error) => true,
                _ => return Heard::Other,
            };
            let ordered = delivery.result.as_ref().is_none_or(|result| result.lane != v1::Lane::Jobs as i32);
            let seq = delivery.result.map_or(0, |result| result.seq);
            let right = !failed && self.inputs.is_right(self.stream, seq, &delivery.payload);
            return Heard::Answer { seq, right, failed, ordered, position: delivery.position };
        }
        if let Some(accepted) = message.accepted {
            return Heard::Accepted { seq: accepted.up_to_seq };
        }
        if message.ping.is_some() {
            return Heard::Ping;
        }
        if let Some(rejected) = message.rejected {
            let after = Duration::from_millis(u64::from(rejected.retry_after_ms.max(1)));
            return Heard::Rejected { seq: rejected.seq, after };
        }
        if let Some(welcome) = message.welcome {
            let limits = welcome.limits.unwrap_or_default();
            // 0: a server that says nothing of it.
            let max_in_flight = if limits.max_in_flight == 0 { u64::MAX } else { limits.max_in_flight.into() };
            return Heard::Open(Opened {
                receive_window: limits.receive_window,
                max_in_flight,
                accepted: welcome.accepted_seq,
                position: welcome.position,
                has_gap: welcome.resume_outcome == v1::ResumeOutcome::Gap as i32,
                token: welcome.resume_token,
            });
        }
        Heard::Other
    }
}

/// `nimbus.NimbusService/ProcessEvent`.
#[derive(Debug)]
pub(crate) struct Original {
    pub(crate) stream: u64,
    pub(crate) inputs: std::sync::Arc<Inputs>,
}

impl Dialect for Original {
    type Up = wire::OriginalRequest;
    type Down = wire::OriginalResponse;
    const PATH: &'static str = "/nimbus.NimbusService/ProcessEvent";
    const OPENS: bool = false;

    fn next(&self, _: Left) -> Option<Self> {
        None
    }

    fn opening(&self) -> Option<Self::Up> {
        None
    }

    fn event(&self, seq: u64) -> Self::Up {
        wire::OriginalRequest {
            event_name: self.inputs.name(self.stream, seq),
            number: answers::number(seq),
            client_sequence: seq,
        }
    }

    fn ack(&self, _: u64) -> Option<Self::Up> {
        None
    }

    fn pong(&self) -> Option<Self::Up> {
        None
    }

    fn hear(&self, message: Self::Down, expected: u64) -> Heard {
        let seq = if message.client_sequence == 0 { expected } else { message.client_sequence };
        let failed = message.error.is_some();
        let right = !failed && self.inputs.is_right_number(self.stream, seq, message.number, message.result);
        Heard::Answer { seq, right, failed, ordered: true, position: 0 }
    }
}
