//! The original protocol as the driver sees it.
//!
//! Answers follow the order of the requests: a terminal record that overtook (jobs lane) waits for those before it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use bytes::{Bytes, BytesMut};
use nimbus_core::{
    ContentType, EventName, OutboxId, PartKind,
    session::{ClientFrame, Delivered, Dialect, NewEvent, ServerFrame},
};
use nimbus_proto::original::{EventRequest, Step};
use tokio::time::Instant;

use super::{context::RequestContext, response::Answers};
use crate::{
    heard::Heard,
    stream::{Outgoing, Wire, WireFrame},
};

/// What one event takes of the arena at most, when its name is right: 11 digits and 12 bytes of context. A fresh piece of
/// the arena is [`ARENA_BYTES`] long.
const ARENA_ROOM_BYTES: usize = 32;
/// How long a fresh piece of the arena is: a few hundred events. It lives as long as any of them does.
const ARENA_BYTES: usize = 8 * 1024;
/// How many log lines of one event are kept for its answer.
const MAX_LOG_STEPS: usize = 64;

#[derive(Debug)]
pub(super) struct OriginalWire {
    answers: Answers,
    outbox: OutboxId,
    name: Option<EventName>,
    number_type: ContentType,
    /// Where payloads and contexts of many events come from: one allocation for all of them.
    arena: BytesMut,
    /// Log lines of events that have no answer yet.
    steps: HashMap<(OutboxId, u64), Vec<Step>>,
    /// The next answer of this stream's outbox.
    next_answer: u64,
    /// Answers that overtook, by sequence number. Bounded, as `steps` is, by the in-flight limit: in this protocol it counts
    /// what is unanswered.
    early: BTreeMap<u64, Bytes>,
    /// The stream's connection; unknown only to tests.
    heard: Option<Heard>,
}

impl OriginalWire {
    pub(super) fn new(instance: &str, outbox: OutboxId, heard: Option<Heard>) -> Self {
        Self {
            answers: Answers::new(instance),
            outbox,
            name: None,
            number_type: ContentType::new("application/json"),
            arena: BytesMut::new(),
            steps: HashMap::new(),
            next_answer: 1,
            early: BTreeMap::new(),
            heard,
        }
    }

    fn event(&mut self, request: EventRequest, seq: u64) -> NewEvent {
        let EventRequest { event_name, number, client_sequence } = request;
        let name = match &self.name {
            Some(name) if name.as_str().as_bytes() == event_name => Ok(name.clone()),
            Some(_) | None => {
                EventName::try_new(&String::from_utf8_lossy(&event_name)).inspect(|name| self.name = Some(name.clone()))
            }
        };
        let wrong_name = match name.is_err() {
            true => String::from_utf8_lossy(&event_name).into_owned(),
            false => String::new(),
        };
        if self.arena.capacity() < ARENA_ROOM_BYTES {
            self.arena.reserve(ARENA_BYTES);
        }
        write!(self.arena, "{number}").expect("there is room for any number");
        let payload = self.arena.split().freeze();
        let context = RequestContext { number, client_sequence, name: wrong_name };
        NewEvent {
            seq,
            name,
            payload,
            content_type: self.number_type.clone(),
            attributes: Vec::new(),
            deadline: None,
            traceparent: String::new(),
            edge_context: context.encode(&mut self.arena),
        }
    }

    fn delivery(&mut self, delivered: &Delivered, out: &mut Outgoing) {
        let record = &delivered.record;
        let event = (record.origin.outbox, record.seq);
        match record.kind {
            // This protocol has one answer per event and nothing before it.
            PartKind::Part | PartKind::Progress => return,
            PartKind::Log => {
                let steps = self.steps.entry(event).or_default();
                if steps.len() < MAX_LOG_STEPS {
                    steps.push(self.answers.log_step(record));
                }
                return;
            }
            PartKind::Final | PartKind::Error => {}
        }
        let mine = record.origin.outbox == self.outbox && record.replay_no == 0;
        // Nearly always there are none at all, of whichever event.
        let steps = if self.steps.is_empty() { Vec::new() } else { self.steps.remove(&event).unwrap_or_default() };
        if mine && event.1 > self.next_answer {
            let mut answer = BytesMut::new();
            self.answers.encode(record, steps, &mut answer);
            self.early.insert(event.1, answer.freeze());
            return;
        }
        if mine {
            self.next_answer = self.next_answer.max(event.1 + 1);
        }
        // What is not mine is from an earlier stream of this client: no request of this stream waits for it.
        let released = if mine { self.release() } else { Vec::new() };
        // While an answer is held back nothing counts as handed over: its record lies before this one.
        let position = self.early.is_empty().then(|| delivered.offset.position_after());
        out.put(position, |buffer| self.answers.encode(record, steps, buffer));
        for answer in released {
            out.put(position, |buffer| buffer.extend_from_slice(&answer));
        }
    }

    /// The answers that waited for the one before `next_answer`, in order.
    fn release(&mut self) -> Vec<Bytes> {
        let mut released = Vec::new();
        while let Some(answer) = self.early.remove(&self.next_answer) {
            self.next_answer += 1;
            released.push(answer);
        }
        released
    }
}

impl Wire for OriginalWire {
    type In = EventRequest;
    const DIALECT: Dialect = Dialect::Original;

    fn decode(&mut self, frame: Self::In, next_seq: u64) -> WireFrame {
        WireFrame::Frame(ClientFrame::Event(self.event(frame, next_seq)))
    }

    fn heard(&self) -> Option<Instant> {
        self.heard.as_ref().map(Heard::last)
    }

    fn encode(&mut self, frame: ServerFrame, out: &mut Outgoing) {
        match frame {
            ServerFrame::Delivery(delivered) => self.delivery(&delivered, out),
            ServerFrame::Welcome(_)
            | ServerFrame::Accepted(_)
            | ServerFrame::Rejected(_)
            | ServerFrame::Ping(_)
            | ServerFrame::GoAway(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use nimbus_core::{
        ClientId, Event, Lane, Offset, Origin, Position, PrincipalId, ResultRecord, clock::UnixMillis,
        ports::log::Stored,
    };
    use nimbus_proto::original::EventResponse;

    use super::*;

    const MINE: OutboxId = OutboxId::new([1; 16]);

    fn wire() -> OriginalWire {
        OriginalWire::new("server-1", MINE, None)
    }

    /// The answer to the event that a request became, as its executor would log and answer it.
    fn results(wire: &mut OriginalWire, seq: u64, outbox: OutboxId, kinds: &[PartKind]) -> Vec<ResultRecord> {
        let request =
            EventRequest { event_name: Bytes::from_static(b"sq"), number: seq as i32, client_sequence: 100 + seq };
        let new = wire.event(request, seq);
        let origin =
            Origin { client: ClientId::try_new("c").unwrap(), principal: PrincipalId::try_new("p").unwrap(), outbox };
        let event = Event {
            origin: Arc::new(origin),
            seq,
            name: new.name.unwrap(),
            payload: new.payload,
            content_type: new.content_type,
            attributes: new.attributes,
            deadline: None,
            traceparent: String::new(),
            received: UnixMillis(1_500),
            replay_no: 0,
            refused: None,
            edge_context: new.edge_context,
        };
        let record = |kind: &PartKind| {
            let mut record = ResultRecord::answering(&event, Offset(seq), Lane::Jobs, *kind, UnixMillis(2_750));
            record.payload = Bytes::from((seq * seq).to_string());
            record
        };
        kinds.iter().map(record).collect()
    }

    fn deliver(wire: &mut OriginalWire, offset: u64, record: ResultRecord) -> Vec<(i32, i32, Option<Position>)> {
        let mut out = Outgoing::default();
        wire.encode(ServerFrame::Delivery(Stored { offset: Offset(offset), record }.into()), &mut out);
        let answers = out.decoded::<EventResponse>().into_iter();
        answers.map(|(answer, position)| (answer.number, answer.result, position)).collect()
    }

    #[test]
    fn answers_follow_the_order_of_the_requests_and_count_as_handed_over_together() {
        let mut wire = wire();
        let mut answer = |seq| results(&mut wire, seq, MINE, &[PartKind::Final]).remove(0);
        let (one, two, three) = (answer(1), answer(2), answer(3));
        assert_eq!(deliver(&mut wire, 10, three), []);
        assert_eq!(deliver(&mut wire, 11, one), [(1, 1, None)]);
        let both = deliver(&mut wire, 12, two);
        assert_eq!(both, [(2, 4, Some(Position(13))), (3, 9, Some(Position(13)))]);
    }

    #[test]
    fn results_of_an_earlier_stream_come_at_once() {
        let mut wire = wire();
        let old = results(&mut wire, 7, OutboxId::new([9; 16]), &[PartKind::Final]).remove(0);
        assert_eq!(deliver(&mut wire, 3, old), [(7, 49, Some(Position(4)))]);
    }

    #[test]
    fn what_an_executor_logged_comes_with_its_answer() {
        let mut wire = wire();
        let kinds = [PartKind::Log, PartKind::Progress, PartKind::Part, PartKind::Final];
        let mut out = Outgoing::default();
        for (offset, record) in (0..).zip(results(&mut wire, 1, MINE, &kinds)) {
            wire.encode(ServerFrame::Delivery(Stored { offset: Offset(offset), record }.into()), &mut out);
        }
        assert_eq!(out.len(), 1);
        let (answer, _) = &out.decoded::<EventResponse>()[0];
        assert_eq!((&answer.event_name[..], answer.number, answer.client_sequence), (&b"sq"[..], 1, 101));
        let steps = &answer.log.as_ref().unwrap().step;
        let messages: Vec<_> = steps.iter().map(|step| (&step.message[..], &step.method_name[..])).collect();
        assert_eq!(messages, [(&b"1"[..], &b"sq"[..]), (b"answered", b"sq")]);
        let timestamp = steps[0].timestamp.as_ref().unwrap();
        assert_eq!((timestamp.seconds, timestamp.nanos), (2, 750_000_000));
    }
}
