//! From result records to `EventResponse`.

use nimbus_core::{PartKind, Reason, ResultRecord, clock::UnixMillis};
use nimbus_proto::original::{EventError, EventResponse, Log, Step};
use prost_types::Timestamp;

use super::context::RequestContext;

/// `Step.service_name` of everything this system did.
const SERVICE_NAME: &str = "nimbus";

/// The answer to one event: its terminal record, and what its executor logged.
pub(super) fn response(record: ResultRecord, mut steps: Vec<Step>, instance: &str) -> EventResponse {
    let context = RequestContext::decode(&record.edge_context);
    let event_name = match context.name.is_empty() {
        true => record.event_name.as_str().to_owned(),
        false => context.name,
    };
    let mut answer = EventResponse {
        event_name,
        number: context.number,
        client_sequence: context.client_sequence,
        ..EventResponse::default()
    };
    let outcome = match (record.kind, &record.failure) {
        (PartKind::Error, Some(failure)) => {
            answer.error = Some(EventError {
                code: failure.code,
                reason: failure.reason.clone(),
                message: failure.message.clone(),
            });
            failure.reason.clone()
        }
        _ => {
            fill_result(&mut answer, &record);
            "answered".to_owned()
        }
    };
    steps.push(step(record.produced, record.event_name.as_str(), outcome, instance));
    answer.log = Some(Log { step: steps });
    answer
}

/// A number goes where it fits; `result` never holds a wrapped one.
fn fill_result(answer: &mut EventResponse, record: &ResultRecord) {
    let number = std::str::from_utf8(&record.payload).ok().and_then(|text| text.trim().parse::<i64>().ok());
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

/// What an executor logged, as a step.
pub(super) fn log_step(record: &ResultRecord, instance: &str) -> Step {
    let message = String::from_utf8_lossy(&record.payload).into_owned();
    let mut step = step(record.produced, record.event_name.as_str(), message, instance);
    step.metadata = record.attributes.iter().cloned().collect();
    step
}

fn step(at: UnixMillis, method: &str, message: String, instance: &str) -> Step {
    Step {
        timestamp: Some(timestamp(at)),
        service_name: SERVICE_NAME.to_owned(),
        instance_id: instance.to_owned(),
        method_name: method.to_owned(),
        message,
        metadata: std::collections::HashMap::new(),
    }
}

fn timestamp(at: UnixMillis) -> Timestamp {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(at.0 % 1_000).unwrap_or(0) * 1_000_000;
    Timestamp { seconds, nanos }
}
