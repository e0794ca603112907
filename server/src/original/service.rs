//! The original service: the client names itself in the call metadata `client_id`.

use std::sync::Arc;

use nimbus_core::{
    ClientId, Reason,
    session::{Dialect, Hello},
};
use nimbus_proto::{encoded::nimbus_service_server::NimbusService, original::EventRequest};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::wire::OriginalWire;
use crate::{
    heard::Heard,
    shared::Shared,
    status,
    stream::{Entrance, Opening, OpeningKind, OutStream, credentials, fresh_outbox},
};

/// Implements `nimbus.NimbusService`.
#[derive(Debug, Clone)]
pub(crate) struct OriginalService {
    shared: Arc<Shared>,
}

impl OriginalService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl NimbusService for OriginalService {
    type ProcessEventStream = OutStream;

    async fn process_event(
        &self,
        request: Request<Streaming<EventRequest>>,
    ) -> Result<Response<Self::ProcessEventStream>, Status> {
        let entrance = Entrance::enter(&self.shared, Dialect::Original)?;
        let client = client_id(request.metadata())?;
        let credentials = credentials(request.metadata());
        let heard = request.extensions().get::<Heard>().cloned();
        let inbound = request.into_inner();
        // Each stream counts its requests anew.
        let outbox = fresh_outbox();
        let wire = OriginalWire::new(self.shared.config.server.as_str(), outbox, heard);
        let hello = Hello { outbox, first_unaccepted: 1, resume: None, receive_window: 0 };
        let opening = Opening { client, credentials, kind: OpeningKind::Original, hello };
        Ok(entrance.spawn(async move { Ok((wire, inbound, opening)) }))
    }
}

fn client_id(metadata: &MetadataMap) -> Result<ClientId, Status> {
    let refuse = |what: &str| status::refuse(Reason::InvalidClientId, format!("call metadata client_id: {what}"));
    let value = metadata.get("client_id").ok_or_else(|| refuse("missing; name the client there"))?;
    let text = value.to_str().map_err(|_| refuse("has bytes that are not visible ASCII"))?;
    ClientId::try_new(text).map_err(|invalid| refuse(&invalid.to_string()))
}
