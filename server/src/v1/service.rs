//! The Gateway service: opens sessions; the unary calls are not offered yet.

use std::sync::Arc;

use nimbus_core::{
    Reason,
    session::{Close, Dialect},
};
use nimbus_proto::{
    encoded::gateway_server::Gateway,
    v1::{CallRequest, CallResponse, ClientFrame, PushRequest, PushResponse, SubmitRequest, SubmitResponse},
};
use tonic::{Request, Response, Status, Streaming};

use super::{decode, wire::V1Wire};
use crate::{
    shared::Shared,
    status,
    stream::{Entrance, Opening, OpeningKind, OutStream, credentials, unreadable},
};

/// Implements `nimbus.v1.Gateway`.
#[derive(Debug, Clone)]
pub(crate) struct GatewayService {
    shared: Arc<Shared>,
}

impl GatewayService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl Gateway for GatewayService {
    type SessionStream = OutStream;

    async fn session(&self, request: Request<Streaming<ClientFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        let entrance = Entrance::enter(&self.shared, Dialect::V1)?;
        let credentials = credentials(request.metadata());
        let mut inbound = request.into_inner();
        let shared = Arc::clone(&self.shared);
        Ok(entrance.spawn(async move {
            let hello = first_frame(&shared, &mut inbound).await?;
            let kind = OpeningKind::V1 { session_no: hello.session_no, token: hello.token };
            let opening = Opening { client: hello.client, credentials, kind, hello: hello.hello };
            Ok((V1Wire::new(shared), inbound, opening))
        }))
    }

    async fn submit(&self, _: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        Err(not_offered("Submit"))
    }

    async fn call(&self, _: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        Err(not_offered("Call"))
    }

    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(not_offered("Push"))
    }
}

fn not_offered(call: &str) -> Status {
    status::refuse(Reason::NotImplemented, format!("{call} is not offered by this version; use Session"))
}

/// Waits for the Hello, no longer than the handshake deadline.
async fn first_frame(
    shared: &Shared,
    inbound: &mut Streaming<ClientFrame>,
) -> Result<decode::CheckedHello, Option<Close>> {
    let deadline = shared.config.limits.handshake;
    match tokio::time::timeout(deadline, inbound.message()).await {
        Ok(Ok(Some(frame))) => decode::first_frame(frame).map_err(Some),
        Ok(Ok(None)) => {
            Err(Some(Close::because(Reason::HelloExpected, "the stream was closed before its first frame, Hello")))
        }
        Ok(Err(status)) => Err(unreadable(&status)),
        Err(_elapsed) => {
            let message = format!("no Hello came within {deadline:?} of opening the stream");
            Err(Some(Close::because(Reason::HandshakeTimeout, message)))
        }
    }
}
