//! `nimbus.v1.Gateway/Session`: a welcome, accepts and deliveries; acks and everything else are ignored.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use nimbus_proto::v1::{self, ClientFrame, ServerFrame, client_frame::Kind as Up, gateway_server::Gateway};
use tonic::{Request, Response, Status, Streaming};

use super::writer::{Batch, WITHIN, Writer};
use crate::edge::{
    Replies,
    frames::{self, Answer},
    gather, replies,
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
            if chunks.send(vec![frames::welcome("baseline", &hello)]).is_err() {
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
                    beyond: batch.iter().map(beyond).sum(),
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

/// What of its payload a record has no room for.
fn beyond(frame: &ClientFrame) -> usize {
    match &frame.kind {
        Some(Up::Event(event)) => event.payload.len().saturating_sub(WITHIN),
        _ => 0,
    }
}

fn answer(batch: Vec<ClientFrame>, position: &AtomicU64, outbox_id: &Bytes) -> Vec<ServerFrame> {
    let first = position.fetch_add(batch.len() as u64, Ordering::Relaxed) + 1;
    let mut answers = Vec::with_capacity(batch.len() + 1);
    if let Some(ClientFrame { kind: Some(Up::Event(last)) }) = batch.last() {
        answers.push(frames::accepted(last.seq));
    }
    for (position, sent) in (first..).zip(batch) {
        if let Some(Up::Event(event)) = sent.kind {
            let answer = Answer {
                outbox_id: outbox_id.clone(),
                seq: event.seq,
                event_name: event.name,
                content_type: event.content_type,
                square: frames::number(&event.payload).and_then(|number| number.checked_mul(number)),
            };
            answers.push(frames::delivery(answer, position));
        }
    }
    answers
}
