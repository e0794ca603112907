//! Events by hand, and a part sink that remembers.

use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use nimbus_core::{
    Attributes, ClientId, ContentType, Event, EventName, Origin, OutboxId, PrincipalId,
    clock::UnixMillis,
    ports::executor::{Executor, ExecutorError, InterimKind, Job, Outcome, Output, PartSink, Run},
};

pub(crate) fn event(name: &str, payload: &str, content_type: &str) -> Event {
    Event {
        origin: Arc::new(Origin {
            client: ClientId::try_new("tester").unwrap(),
            principal: PrincipalId::try_new("tester").unwrap(),
            outbox: OutboxId::new([7; 16]),
        }),
        seq: 1,
        name: EventName::try_new(name).unwrap(),
        payload: payload.to_owned().into(),
        content_type: ContentType::new(content_type),
        attributes: Attributes::new(),
        deadline: None,
        traceparent: String::new(),
        received: UnixMillis(0),
        replay_no: 0,
        refused: None,
        edge_context: bytes::Bytes::new(),
    }
}

#[derive(Debug, Default)]
pub(crate) struct Parts(Mutex<Vec<Output>>);

impl Parts {
    pub(crate) fn texts(&self) -> Vec<String> {
        let parts = self.0.lock().unwrap();
        parts.iter().map(|part| String::from_utf8(part.payload.to_vec()).unwrap()).collect()
    }
}

impl PartSink for Parts {
    fn emit(&self, _kind: InterimKind, output: Output) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().push(output);
        Box::pin(async {})
    }
}

pub(crate) fn now(executor: &dyn Executor, event: &Event) -> Outcome {
    now_at(executor, event, 1)
}

pub(crate) fn now_at(executor: &dyn Executor, event: &Event, attempt: u32) -> Outcome {
    match executor.run(Job { event, attempt, parts: &Parts::default() }) {
        Run::Now(outcome) => outcome,
        Run::Later(_) => panic!("{} was to answer at once", executor.name()),
    }
}

pub(crate) async fn later(executor: &dyn Executor, event: &Event, attempt: u32, parts: &Parts) -> Outcome {
    match executor.run(Job { event, attempt, parts }) {
        Run::Now(outcome) => outcome,
        Run::Later(work) => work.await,
    }
}

/// Reason and message of a refusal.
pub(crate) fn refused(outcome: Outcome) -> (String, String) {
    match outcome {
        Err(ExecutorError::Rejected(failure)) => (failure.reason, failure.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
