//! `nimbus.NimbusService/ProcessEvent`: numbers in, squares out.

use bytes::Bytes;
use nimbus_core::ClientId;
use nimbus_proto::original::{EventRequest, EventResponse, nimbus_service_server::NimbusService};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Glue,
    record::{Record, Sent},
};
use crate::edge::{Replies, gather, replies};

#[derive(Debug)]
pub(crate) struct Service {
    glue: Glue,
}

impl Service {
    pub(crate) const fn new(glue: Glue) -> Self {
        Self { glue }
    }
}

#[tonic::async_trait]
impl NimbusService for Service {
    type ProcessEventStream = Replies<EventResponse>;

    async fn process_event(
        &self,
        request: Request<Streaming<EventRequest>>,
    ) -> Result<Response<Self::ProcessEventStream>, Status> {
        let client = request.metadata().get("client_id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let client = ClientId::try_new(client).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut requests = request.into_inner();
        let glue = self.glue.clone();
        let (chunks, answers) = replies();
        tokio::spawn(async move {
            // A client that has left gets nothing.
            let answers = move |records: &[Record]| drop(chunks.send(records.iter().map(answer).collect()));
            let line = glue.lines.open(Box::new(answers));
            let mut open = true;
            while open {
                let mut batch = Vec::new();
                open = gather(&mut requests, &mut batch).await;
                let records: Option<Vec<_>> = batch.iter().map(|event| record(line, event)).collect();
                let Some(records) = records else { break };
                glue.send(line, &client, &records).await;
            }
            glue.lines.ended(line);
        });
        Ok(Response::new(answers))
    }
}

fn record(line: u64, event: &EventRequest) -> Option<Record> {
    let number = Some(i64::from(event.number));
    Record::try_new(line, Sent { seq: event.client_sequence, name: &event.event_name, content_type: b"", number })
}

/// Numbers are of 32 bits here, and a square that is too large wraps.
#[allow(clippy::cast_possible_truncation)]
fn answer(record: &Record) -> EventResponse {
    EventResponse {
        event_name: Bytes::copy_from_slice(record.name()),
        number: record.number().unwrap_or_default() as i32,
        result: record.result().unwrap_or_default() as i32,
        log: None,
        wide_result: None,
        error: None,
        client_sequence: record.seq(),
    }
}
