//! From result records to encoded `EventResponse`s.

use bytes::{Bytes, BytesMut};
use nimbus_core::{EventName, Failure, PartKind, Reason, ResultRecord, clock::UnixMillis};
use nimbus_proto::original::{EventError, Log, LoggedResponse, Step};
use prost::Message as _;
use prost_types::Timestamp;

use super::context::RequestContext;

/// `Step.service_name` of everything this system did.
const SERVICE_NAME: Bytes = Bytes::from_static(b"nimbus");
/// `Step.message` of an event that has its result.
const ANSWERED: Bytes = Bytes::from_static(b"answered");

/// How much of a log line is kept for the answer, in bytes.
const MAX_STEP_BYTES: usize = 1024;

/// Makes the answers of one stream. What repeats is shared between them.
#[derive(Debug)]
pub(super) struct Answers {
    instance: Bytes,
    /// The last event name and its bytes.
    name: Option<(EventName, Bytes)>,
    /// The last log that says no more than when an event was answered: when, which event, and that log, encoded. Events of one
    /// batch are answered within the same millisecond.
    log: Option<(UnixMillis, Bytes, Bytes)>,
}

impl Answers {
    pub(super) fn new(instance: &str) -> Self {
        Self { instance: Bytes::copy_from_slice(instance.as_bytes()), name: None, log: None }
    }

    /// Appends the answer to one event to `buffer`: its terminal record, and what its executor logged.
    pub(super) fn encode(&mut self, record: &ResultRecord, logged: Vec<Step>, buffer: &mut BytesMut) {
        self.response(record, logged).encode(buffer).expect("a buffer that grows has room");
    }

    fn response(&mut self, record: &ResultRecord, mut logged: Vec<Step>) -> LoggedResponse {
        let context = RequestContext::decode(&record.edge_context);
        let method = self.name_of(&record.event_name);
        let mut answer = LoggedResponse {
            event_name: match context.name.is_empty() {
                true => method.clone(),
                false => Bytes::from(context.name),
            },
            number: context.number,
            client_sequence: context.client_sequence,
            ..LoggedResponse::default()
        };
        let outcome = match (record.kind, &record.failure) {
            (PartKind::Error, Some(failure)) => {
                let outcome = Bytes::copy_from_slice(failure.reason.as_bytes());
                let Failure { code, reason, message } = (**failure).clone();
                answer.error = Some(EventError { code, reason, message });
                Some(outcome)
            }
            _ => {
                fill_result(&mut answer, &record.payload);
                None
            }
        };
        answer.log = match outcome {
            None if logged.is_empty() => self.answered(record.produced, method),
            outcome => {
                logged.push(self.step(record.produced, method, outcome.unwrap_or(ANSWERED)));
                encoded(logged)
            }
        };
        answer
    }

    /// The encoded log of an event that has its result, and about which its executor has said nothing.
    fn answered(&mut self, at: UnixMillis, method: Bytes) -> Bytes {
        match &self.log {
            Some((when, name, log)) if *when == at && *name == method => log.clone(),
            Some(_) | None => {
                let log = encoded(vec![self.step(at, method.clone(), ANSWERED)]);
                self.log = Some((at, method, log.clone()));
                log
            }
        }
    }

    /// What an executor logged, as a step.
    pub(super) fn log_step(&mut self, record: &ResultRecord) -> Step {
        let method = self.name_of(&record.event_name);
        let line = &record.payload[..record.payload.len().min(MAX_STEP_BYTES)];
        let message = String::from_utf8_lossy(line).into_owned();
        let mut step = self.step(record.produced, method, Bytes::from(message));
        step.metadata = record.attributes.iter().cloned().collect();
        step
    }

    fn step(&self, at: UnixMillis, method_name: Bytes, message: Bytes) -> Step {
        Step {
            timestamp: Some(timestamp(at)),
            service_name: SERVICE_NAME,
            instance_id: self.instance.clone(),
            method_name,
            message,
            metadata: std::collections::HashMap::new(),
        }
    }

    fn name_of(&mut self, name: &EventName) -> Bytes {
        match &self.name {
            Some((known, bytes)) if known == name => bytes.clone(),
            Some(_) | None => {
                let bytes = Bytes::copy_from_slice(name.as_str().as_bytes());
                self.name = Some((name.clone(), bytes.clone()));
                bytes
            }
        }
    }
}

fn encoded(step: Vec<Step>) -> Bytes {
    Log { step }.encode_to_vec().into()
}

/// A number goes where it fits; `result` never holds a wrapped one.
fn fill_result(answer: &mut LoggedResponse, payload: &[u8]) {
    let number = std::str::from_utf8(payload).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let Some(wide) = number else {
        answer.error = Some(error(Reason::ResultOutOfRange, "the result is not an integer of 64 bits"));
        return;
    };
    answer.wide_result = Some(wide);
    match i32::try_from(wide) {
        Ok(result) => answer.result = result,
        Err(_) => {
            let message = format!("{wide} does not fit into `result`; read `wide_result`");
            answer.error = Some(error(Reason::ResultOutOfRange, message));
        }
    }
}

fn error(reason: Reason, message: impl Into<String>) -> EventError {
    EventError { code: reason.class().code(), reason: reason.as_str().to_owned(), message: message.into() }
}

fn timestamp(at: UnixMillis) -> Timestamp {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(at.0 % 1_000).unwrap_or(0) * 1_000_000;
    Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use nimbus_proto::original::EventResponse;

    use super::*;
    use crate::testing;

    /// Logs are shared between answers of one time and one name, and between no others.
    #[test]
    fn each_answer_says_when_it_was_given_and_to_which_event() {
        let mut answers = Answers::new("here");
        for (at, name) in [(1_001, "sq"), (1_001, "sq"), (1_002, "sq"), (1_002, "echo"), (1_001, "sq")] {
            let record = ResultRecord {
                event_name: EventName::try_new(name).unwrap(),
                produced: UnixMillis(at),
                payload: Bytes::from_static(b"9"),
                ..testing::answer("c", 1)
            };
            let mut bytes = BytesMut::new();
            answers.encode(&record, Vec::new(), &mut bytes);
            let answer = EventResponse::decode(bytes.freeze()).unwrap();
            let steps = answer.log.unwrap().step;
            let [step] = &steps[..] else { panic!("{steps:?}") };
            assert_eq!((&answer.event_name[..], &step.method_name[..]), (name.as_bytes(), name.as_bytes()));
            assert_eq!((step.timestamp, &step.message[..]), (Some(timestamp(UnixMillis(at))), &ANSWERED[..]));
            assert_eq!(&step.instance_id[..], b"here");
        }
    }
}
