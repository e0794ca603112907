//! `nimbus.NimbusService/ProcessEvent`: numbers in, squares out.

use nimbus_proto::original::{EventRequest, EventResponse, nimbus_service_server::NimbusService};
use tonic::{Request, Response, Status, Streaming};

use super::writer::{Batch, Writer};
use crate::edge::{Replies, gather, replies};

#[derive(Debug)]
pub(crate) struct Service {
    writer: Writer,
}

impl Service {
    pub(crate) const fn new(writer: Writer) -> Self {
        Self { writer }
    }
}

#[tonic::async_trait]
impl NimbusService for Service {
    type ProcessEventStream = Replies<EventResponse>;

    async fn process_event(
        &self,
        request: Request<Streaming<EventRequest>>,
    ) -> Result<Response<Self::ProcessEventStream>, Status> {
        let mut requests = request.into_inner();
        let writer = self.writer.clone();
        let (chunks, answers) = replies();
        tokio::spawn(async move {
            let mut open = true;
            while open {
                let mut batch = Vec::new();
                open = gather(&mut requests, &mut batch).await;
                if batch.is_empty() {
                    continue;
                }
                let chunks = chunks.clone();
                let written = Batch {
                    records: batch.len(),
                    // A number each.
                    beyond: 0,
                    written: Box::new(move || {
                        // A client that has left gets nothing.
                        drop(chunks.send(batch.into_iter().map(answer).collect()));
                    }),
                };
                open &= writer.write(written);
            }
        });
        Ok(Response::new(answers))
    }
}

fn answer(request: EventRequest) -> EventResponse {
    EventResponse {
        event_name: request.event_name,
        number: request.number,
        result: request.number.wrapping_mul(request.number),
        log: None,
        wide_result: None,
        error: None,
        client_sequence: request.client_sequence,
    }
}
