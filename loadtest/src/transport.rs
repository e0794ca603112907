//! Connections and calls, with the lean messages.

use std::time::Duration;

use futures_util::Stream;
use nimbus_dial::root_cause;
use nimbus_proto::codec::SmallBufferCodec;
use prost::Message;
use tokio::time::timeout;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use crate::LoadError;

/// Flow control must not be what is measured.
const HTTP2_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// For TCP and TLS together. A server that takes longer is not there, as far as a load is concerned.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where connections go, and who may vouch for who is there.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Such as `http://127.0.0.1:50051`, or with `https`; without either it is `https` if there is an authority.
    pub address: String,
    /// PEM: who may vouch for a server that speaks TLS. `None`: whoever this machine trusts.
    pub authority: Option<String>,
}

impl Destination {
    /// A server that no authority of its own vouches for.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), authority: None }
    }

    /// To be made once: the copies of one endpoint resume the TLS sessions of one another.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, LoadError> {
        let endpoint = nimbus_dial::endpoint(&self.address, self.authority.as_deref().map(str::as_bytes));
        let endpoint = endpoint.map_err(|error| LoadError::Config(error.to_string()))?;
        Ok(endpoint
            .tcp_nodelay(true)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES))
    }
}

pub(crate) async fn connect(to: &Endpoint) -> Result<Channel, LoadError> {
    let failed = |why: String| LoadError::Connect { address: to.uri().to_string(), why };
    let connected = timeout(CONNECT_TIMEOUT, to.connect()).await;
    let connected = connected.map_err(|_| failed(format!("no answer within {CONNECT_TIMEOUT:?}")))?;
    connected.map_err(|error| failed(root_cause(&error)))
}

/// What a call carries besides its messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) token: Option<&'a str>,
}

/// Opens a bidirectional stream. Returns when the server has answered with headers.
pub(crate) async fn open<Up, Down, S>(
    channel: Channel,
    path: &'static str,
    caller: Caller<'_>,
    messages: S,
) -> Result<Streaming<Down>, Status>
where
    Up: Message + 'static,
    Down: Message + Default + 'static,
    S: Stream<Item = Up> + Send + 'static,
{
    let mut request = Request::new(messages);
    let metadata = request.metadata_mut();
    let text = |value: &str| MetadataValue::try_from(value).map_err(|_| Status::invalid_argument("no header value"));
    metadata.insert("client_id", text(caller.client_id)?);
    if let Some(token) = caller.token {
        metadata.insert("authorization", text(&format!("Bearer {token}"))?);
    }
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = SmallBufferCodec::<Up, Down>::default();
    Ok(grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner())
}
