//! Connections and calls, with the lean messages.

use std::error::Error as _;

use futures_util::Stream;
use nimbus_proto::codec::SmallBufferCodec;
use prost::Message;
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

pub(crate) async fn connect(address: &str) -> Result<Channel, LoadError> {
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(with_scheme)
        .map_err(|error| LoadError::Config(format!("address `{address}`: {error}")))?
        .tcp_nodelay(true)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES);
    endpoint.connect().await.map_err(|error| LoadError::Connect {
        address: address.to_owned(),
        why: error.source().map_or_else(|| error.to_string(), |source| source.to_string()),
    })
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
