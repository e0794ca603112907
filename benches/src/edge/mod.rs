//! What the baselines have in common towards their clients: the server, requests in batches, answers in chunks, and the frames
//! of v1. What happens between a batch and its answers is a baseline's own.

pub(crate) mod frames;
mod replies;

use std::net::SocketAddr;

use nimbus_proto::{
    original::nimbus_service_server::{NimbusService, NimbusServiceServer},
    v1::gateway_server::{Gateway, GatewayServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

pub(crate) use self::replies::{Replies, replies};

/// The same flow-control windows as the harness asks for.
const HTTP2_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Most requests of a stream that are taken in one go.
const BATCH: usize = 1024;

/// Serves both protocols until the process ends. `listening` is told the address.
pub(crate) async fn serve(
    original: impl NimbusService,
    v1: impl Gateway,
    listening: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr()?);
    let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    });
    Server::builder()
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .add_service(NimbusServiceServer::new(original))
        .add_service(GatewayServer::new(v1))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// Gathers the requests that are there, at least one. `false` when the stream has ended.
pub(crate) async fn gather<M>(requests: &mut tonic::Streaming<M>, batch: &mut Vec<M>) -> bool {
    use futures_util::FutureExt;
    let mut more = requests.message().await;
    loop {
        match more {
            Ok(Some(request)) => batch.push(request),
            // A baseline does not care how a stream ends.
            Ok(None) | Err(_) => return false,
        }
        if batch.len() >= BATCH {
            return true;
        }
        match requests.message().now_or_never() {
            Some(next) => more = next,
            None => return true,
        }
    }
}
