//! Connections and calls, with the lean messages.

use std::error::Error;

use futures_util::Stream;
use nimbus_proto::codec::SmallBufferCodec;
use prost::Message;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::LoadError;

/// Flow control must not be what is measured.
const HTTP2_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

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

    fn endpoint(&self) -> Result<Endpoint, LoadError> {
        let Self { address, authority } = self;
        let wrong = |why: String| LoadError::Config(format!("address `{address}`: {why}"));
        let scheme = if authority.is_some() { "https" } else { "http" };
        let with_scheme = if address.contains("://") { address.clone() } else { format!("{scheme}://{address}") };
        let is_plain = !with_scheme.starts_with("https://");
        let endpoint = Endpoint::from_shared(with_scheme).map_err(|error| wrong(error.to_string()))?;
        let tls = match authority {
            Some(_) if is_plain => return Err(wrong("does not ask for TLS, and an authority is given".to_owned())),
            None if is_plain => return Ok(endpoint),
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        endpoint.tls_config(tls).map_err(|error| wrong(root(&error)))
    }
}

/// What an error goes back to, which is what says something.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

pub(crate) async fn connect(to: &Destination) -> Result<Channel, LoadError> {
    let endpoint = to
        .endpoint()?
        .tcp_nodelay(true)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES);
    endpoint.connect().await.map_err(|error| LoadError::Connect { address: to.address.clone(), why: root(&error) })
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
