//! The original protocol as the driver sees it.
//!
//! Answers follow the order of the requests: a terminal record that overtook (jobs lane) waits for those before it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use nimbus_core::{
    ContentType, EventName, OutboxId, PartKind, Position, ResultRecord,
    ports::log::Stored,
    session::{ClientFrame, Dialect, NewEvent, ServerFrame},
};
use nimbus_proto::original::{EventRequest, EventResponse, Step};
use prost::Message as _;

use super::{context::RequestContext, response};
use crate::stream::{OutFrame, Wire, WireFrame};

/// gRPC's own prefix of each message, in bytes.
const FRAME_PREFIX_BYTES: usize = 5;
/// How many log lines of one event are kept for its answer.
const MAX_LOG_STEPS: usize = 64;

#[derive(Debug)]
pub(super) struct OriginalWire {
    instance: String,
    outbox: OutboxId,
    name: Option<EventName>,
    number_type: ContentType,
    /// Log lines of events that have no answer yet.
    steps: HashMap<(OutboxId, u64), Vec<Step>>,
    /// The next answer of this stream's outbox.
    next_answer: u64,
    /// Answers that overtook, by sequence number. Bounded by the in-flight limit of the jobs lane.
    early: BTreeMap<u64, EventResponse>,
}

impl OriginalWire {
    pub(super) fn new(instance: String, outbox: OutboxId) -> Self {
        Self {
            instance,
            outbox,
            name: None,
            number_type: ContentType::new("application/json"),
            steps: HashMap::new(),
            next_answer: 1,
            early: BTreeMap::new(),
        }
    }

    fn event(&mut self, request: EventRequest, seq: u64) -> NewEvent {
        let EventRequest { event_name, number, client_sequence } = request;
        let name = match &self.name {
            Some(name) if name.as_str() == event_name => Ok(name.clone()),
            Some(_) | None => EventName::try_new(&event_name).inspect(|name| self.name = Some(name.clone())),
        };
        let wrong_name = if name.is_err() { event_name } else { String::new() };
        NewEvent {
            seq,
            name,
            payload: Bytes::from(number.to_string()),
            content_type: self.number_type.clone(),
            attributes: Vec::new(),
            deadline: None,
            traceparent: String::new(),
            edge_context: RequestContext { number, client_sequence, name: wrong_name }.encode(),
        }
    }

    fn delivery(&mut self, stored: Stored<ResultRecord>, out: &mut Vec<OutFrame<EventResponse>>) {
        let Stored { offset, record } = stored;
        let event = (record.origin.outbox, record.seq);
        match record.kind {
            // This protocol has one answer per event and nothing before it.
            PartKind::Part | PartKind::Progress => return,
            PartKind::Log => {
                let steps = self.steps.entry(event).or_default();
                if steps.len() < MAX_LOG_STEPS {
                    steps.push(response::log_step(&record, &self.instance));
                }
                return;
            }
            PartKind::Final | PartKind::Error => {}
        }
        let mine = record.origin.outbox == self.outbox && record.replay_no == 0;
        let steps = self.steps.remove(&event).unwrap_or_default();
        let answer = response::response(record, steps, &self.instance);
        let position = offset.position_after();
        if !mine {
            // From an earlier stream of this client: no request of this stream waits for it.
            self.push(answer, position, out);
            return;
        }
        if event.1 > self.next_answer {
            self.early.insert(event.1, answer);
            return;
        }
        self.next_answer = self.next_answer.max(event.1 + 1);
        let mut ready = vec![answer];
        while let Some(answer) = self.early.remove(&self.next_answer) {
            self.next_answer += 1;
            ready.push(answer);
        }
        for answer in ready {
            self.push(answer, position, out);
        }
    }

    fn push(&self, frame: EventResponse, position: Position, out: &mut Vec<OutFrame<EventResponse>>) {
        let bytes = frame.encoded_len() + FRAME_PREFIX_BYTES;
        // While an answer is held back nothing counts as handed over: its record lies before this one.
        let position = self.early.is_empty().then_some(position);
        out.push(OutFrame { frame, bytes, position });
    }
}

impl Wire for OriginalWire {
    type In = EventRequest;
    type Out = EventResponse;
    const DIALECT: Dialect = Dialect::Original;

    fn decode(&mut self, frame: Self::In, next_seq: u64) -> WireFrame {
        WireFrame::Frame(ClientFrame::Event(self.event(frame, next_seq)))
    }

    fn encode(&mut self, frame: ServerFrame, out: &mut Vec<OutFrame<Self::Out>>) {
        match frame {
            ServerFrame::Delivery(stored) => self.delivery(stored, out),
            ServerFrame::Welcome(_)
            | ServerFrame::Accepted(_)
            | ServerFrame::Rejected(_)
            | ServerFrame::Ping(_)
            | ServerFrame::GoAway(_) => {}
        }
    }
}
