//! `nimbus.v1.Gateway/Session`: a welcome, accepts and deliveries; acks and everything else are ignored.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use nimbus_proto::v1::{
    self, ClientFrame, ServerFrame, client_frame::Kind as Up, delivery::Source, gateway_server::Gateway,
    server_frame::Kind as Down,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    gather,
    replies::{Replies, replies},
    writer::{Batch, Writer},
};

#[derive(Debug)]
pub(crate) struct Service {
    writer: Writer,
    position: Arc<AtomicU64>,
}

impl Service {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer, position: Arc::new(AtomicU64::new(0)) }
    }
}

#[tonic::async_trait]
impl Gateway for Service {
    type SessionStream = Replies<ServerFrame>;

    async fn session(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        let mut frames = request.into_inner();
        let writer = self.writer.clone();
        let position = Arc::clone(&self.position);
        let (chunks, answers) = replies();
        tokio::spawn(async move {
            let Ok(Some(ClientFrame { kind: Some(Up::Hello(hello)) })) = frames.message().await else { return };
            if chunks.send(vec![frame(Down::Welcome(welcome(&hello)))]).is_err() {
                return;
            }
            let mut open = true;
            while open {
                let mut batch = Vec::new();
                open = gather(&mut frames, &mut batch).await;
                batch.retain(|frame| matches!(frame.kind, Some(Up::Event(_))));
                if batch.is_empty() {
                    continue;
                }
                let (chunks, position, outbox_id) = (chunks.clone(), Arc::clone(&position), hello.outbox_id.clone());
                let written = Batch {
                    records: batch.len(),
                    // A client that has left gets nothing.
                    written: Box::new(move || drop(chunks.send(answer(batch, &position, &outbox_id)))),
                };
                open &= writer.write(written);
            }
        });
        Ok(Response::new(answers))
    }

    async fn submit(&self, _: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        Err(Status::unimplemented("submit"))
    }

    async fn call(&self, _: Request<v1::CallRequest>) -> Result<Response<v1::CallResponse>, Status> {
        Err(Status::unimplemented("call"))
    }

    async fn push(&self, _: Request<v1::PushRequest>) -> Result<Response<v1::PushResponse>, Status> {
        Err(Status::unimplemented("push"))
    }
}

const fn frame(kind: Down) -> ServerFrame {
    ServerFrame { kind: Some(kind) }
}

fn welcome(hello: &v1::Hello) -> v1::Welcome {
    v1::Welcome {
        server_id: "baseline".to_owned(),
        accepted_seq: 0,
        resume_outcome: v1::ResumeOutcome::New as i32,
        gap: None,
        resume_token: Bytes::new(),
        limits: Some(v1::Limits {
            max_payload_bytes: 1024 * 1024,
            max_in_flight: 1024,
            receive_window: hello.receive_window,
        }),
        ping_interval_ms: 25_000,
        position: 0,
        session_id: String::new(),
    }
}

fn answer(batch: Vec<ClientFrame>, position: &AtomicU64, outbox_id: &Bytes) -> Vec<ServerFrame> {
    let first = position.fetch_add(batch.len() as u64, Ordering::Relaxed) + 1;
    let mut answers = Vec::with_capacity(batch.len() + 1);
    if let Some(ClientFrame { kind: Some(Up::Event(last)) }) = batch.last() {
        answers.push(frame(Down::Accepted(v1::Accepted { up_to_seq: last.seq })));
    }
    for (position, sent) in (first..).zip(batch) {
        if let Some(Up::Event(event)) = sent.kind {
            answers.push(frame(Down::Delivery(delivery(event, position, outbox_id.clone()))));
        }
    }
    answers
}

fn delivery(event: v1::Event, position: u64, outbox_id: Bytes) -> v1::Delivery {
    let result = v1::ResultOf {
        outbox_id,
        seq: event.seq,
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        event_name: event.name,
        lane: v1::Lane::Ordered.into(),
    };
    let number = std::str::from_utf8(&event.payload).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let (kind, payload, error) = match number.and_then(|number| number.checked_mul(number)) {
        Some(square) => (v1::PartKind::Final, Bytes::from(square.to_string()), None),
        None => {
            let error = v1::Error { code: 3, reason: "INVALID_PAYLOAD".to_owned(), message: String::new() };
            (v1::PartKind::Error, Bytes::new(), Some(error))
        }
    };
    v1::Delivery {
        position,
        source: Some(Source::Result(result)),
        kind: kind as i32,
        payload,
        content_type: event.content_type,
        error,
        attributes: std::collections::HashMap::new(),
    }
}
