//! The limit that Nimbus is measured against: raw tonic and one fdatasync per batch, and no guarantee at all.
//!
//! It gathers the events of all streams, appends a record of each to one file, syncs once, and answers with the squares.
//! It forgets everything else: no dedup, no resume, no order across a restart, no limits, no executors. It speaks both
//! protocols as far as a load needs them.

mod original;
mod replies;
mod v1;
mod writer;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::Path};

use nimbus_proto::{original::nimbus_service_server::NimbusServiceServer, v1::gateway_server::GatewayServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use self::writer::Writer;

/// The same flow-control windows as the harness asks for.
const HTTP2_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Most requests of a stream that are taken in one go.
const BATCH: usize = 1024;

/// Serves until the process ends. `listening` is told the address.
pub(crate) async fn serve(directory: &Path, listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let writer = Writer::start(&directory.join("baseline.log"))?;
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
        .add_service(NimbusServiceServer::new(original::Service::new(writer.clone())))
        .add_service(GatewayServer::new(v1::Service::new(writer)))
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
