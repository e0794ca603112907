//! `nimbus.v1.Gateway/Session`: a welcome, accepts and deliveries; acks and everything else are ignored.
//!
//! Accepted goes out with the answers: by then the broker has the events, or nobody could have consumed them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use nimbus_core::ClientId;
use nimbus_proto::v1::{self, ClientFrame, ServerFrame, client_frame::Kind as Up, gateway_server::Gateway};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Glue,
    record::{Record, Sent},
};
use crate::edge::{
    Replies,
    frames::{self, Answer},
    gather, replies,
};

#[derive(Debug)]
pub(crate) struct Service {
    glue: Glue,
    position: Arc<AtomicU64>,
}

impl Service {
    pub(crate) fn new(glue: Glue) -> Self {
        Self { glue, position: Arc::new(AtomicU64::new(0)) }
    }
}

#[tonic::async_trait]
impl Gateway for Service {
    type SessionStream = Replies<ServerFrame>;

    async fn session(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        let mut frames = request.into_inner();
        let glue = self.glue.clone();
        let position = Arc::clone(&self.position);
        let (chunks, answers) = replies();
        tokio::spawn(async move {
            let Ok(Some(ClientFrame { kind: Some(Up::Hello(hello)) })) = frames.message().await else { return };
            let Ok(client) = ClientId::try_new(hello.client_id.as_str()) else { return };
            if chunks.send(vec![frames::welcome("glue", &hello)]).is_err() {
                return;
            }
            let outbox_id = hello.outbox_id;
            // A client that has left gets nothing.
            let answers = move |records: &[Record]| drop(chunks.send(answer(records, &position, &outbox_id)));
            let line = glue.lines.open(Box::new(answers));
            let mut open = true;
            while open {
                let mut batch = Vec::new();
                open = gather(&mut frames, &mut batch).await;
                let events = batch.into_iter().filter_map(|frame| match frame.kind {
                    Some(Up::Event(event)) => Some(event),
                    _ => None,
                });
                let records: Option<Vec<_>> = events.map(|event| record(line, &event)).collect();
                let Some(records) = records else { break };
                glue.send(line, &client, &records).await;
            }
            glue.lines.ended(line);
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

fn record(line: u64, event: &v1::Event) -> Option<Record> {
    let number = frames::number(&event.payload);
    Record::try_new(
        line,
        Sent { seq: event.seq, name: event.name.as_bytes(), content_type: event.content_type.as_bytes(), number },
    )
}

fn answer(records: &[Record], position: &AtomicU64, outbox_id: &Bytes) -> Vec<ServerFrame> {
    let first = position.fetch_add(records.len() as u64, Ordering::Relaxed) + 1;
    let mut answers = Vec::with_capacity(records.len() + 1);
    answers.extend(records.last().map(|last| frames::accepted(last.seq())));
    answers.extend((first..).zip(records).map(|(position, record)| {
        let answer = Answer {
            outbox_id: outbox_id.clone(),
            seq: record.seq(),
            event_name: text(record.name()),
            content_type: text(record.content_type()),
            square: record.result(),
        };
        frames::delivery(answer, position)
    }));
    answers
}

/// Half a character is what no load sends.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
