//! The edge of one server: its gRPC services, its dispatcher, and how both end.

use std::{io, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use nimbus_core::{
    chance,
    ports::notifier::NotifierError,
    session::{MAX_ATTRIBUTE_BYTES, MAX_PAYLOAD_CAP_BYTES},
};
use nimbus_proto::{
    DESCRIPTORS,
    encoded::{gateway_server::GatewayServer, nimbus_service_server::NimbusServiceServer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{
    Server,
    server::{Connected, TcpIncoming},
};
use tonic_health::server::HealthReporter;

use crate::{
    config::EdgeConfig,
    connection::Plain,
    dispatch,
    metrics::Metrics,
    original::OriginalService,
    shared::{EdgePorts, Shared},
    v1::GatewayService,
};

/// The largest message the edge reads at all, in bytes: the largest payload and everything that may come with it. What
/// is larger than the session's limit but below this is answered as the event's ERROR; beyond, the stream ends.
const MAX_MESSAGE_BYTES: usize = MAX_PAYLOAD_CAP_BYTES + MAX_ATTRIBUTE_BYTES + 64 * 1024;
/// How much of a stream may be unread here, in bytes. This is how far a client gets while its stream is not read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all streams of a connection. The HTTP/2 library ends a connection that holds too many small unread frames: it
/// charges each 256 bytes less its length against half of this window. With these two windows eight streams of a connection
/// can be stalled and full of the smallest events before that happens; with the library's defaults not even one.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Into how many steps a drain is divided, so that clients do not all reconnect at once.
const DRAIN_STEPS: u32 = 20;
/// Which part of the drain window is used for telling sessions; the rest is for them to end.
const DRAIN_PACING: f64 = 0.5;

/// Why the edge could not be or stay up.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Reflection could not be built; a fault of the build.
    #[error("the descriptors of the protocol are unusable: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
    /// The server's channel could not be opened. Retryable.
    #[error(transparent)]
    Notifier(#[from] NotifierError),
}

/// The gRPC edge of one server.
#[derive(Debug, Clone)]
pub struct Edge {
    shared: Arc<Shared>,
}

impl Edge {
    /// Makes the edge. Nothing runs before [`serve`](Self::serve).
    pub fn new(ports: EdgePorts, config: EdgeConfig, metrics: Metrics) -> Self {
        Self { shared: Shared::new(ports, config.settled(), metrics) }
    }

    /// Serves until `stop` is cancelled, then cuts whatever streams are left: call [`drain`](Self::drain) before.
    ///
    /// # Errors
    /// [`EdgeError`]: the listener or the notifier failed. Retry by starting again.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> Result<(), EdgeError> {
        self.run(TcpIncoming::from(listener).with_nodelay(Some(true)), stop).await
    }

    /// [`serve`](Self::serve) over connections that come from elsewhere than a TCP listener.
    ///
    /// # Errors
    /// Those of `serve`.
    pub async fn serve_connections<C>(
        &self,
        connections: impl Stream<Item = io::Result<C>>,
        stop: CancellationToken,
    ) -> Result<(), EdgeError>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.run(connections.map(|connection| connection.map(Plain)), stop).await
    }

    async fn run<C>(
        &self,
        incoming: impl Stream<Item = io::Result<C>>,
        stop: CancellationToken,
    ) -> Result<(), EdgeError>
    where
        C: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    {
        let (health, health_service) = tonic_health::server::health_reporter();
        set_serving(&health, true).await;
        let reflection = || {
            let both = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
            let builder = tonic_reflection::server::Builder::configure();
            both.into_iter().fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
        };
        let config = &self.shared.config;
        let server = Server::builder()
            .http2_keepalive_interval(Some(config.keepalive_interval))
            .http2_keepalive_timeout(Some(config.keepalive_timeout))
            .max_concurrent_streams(Some(config.streams_per_connection))
            .initial_stream_window_size(Some(STREAM_WINDOW_BYTES))
            .initial_connection_window_size(Some(CONNECTION_WINDOW_BYTES))
            .add_service(health_service)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .add_service(
                GatewayServer::new(GatewayService::new(Arc::clone(&self.shared)))
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(
                NimbusServiceServer::new(OriginalService::new(Arc::clone(&self.shared)))
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(usize::MAX),
            );
        let draining = self.shared.draining.clone();
        let unhealthy = async {
            draining.cancelled().await;
            set_serving(&health, false).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Each of these ends once, so that none can starve another; an end that was asked for comes first.
            biased;
            () = stop.cancelled() => Ok(()),
            served = server.serve_with_incoming(incoming) => served.map_err(EdgeError::from),
            dispatched = dispatch::run(Arc::clone(&self.shared), stop.clone()) => dispatched.map_err(EdgeError::from),
            () = unhealthy => Ok(()),
        }
    }

    /// Takes no more streams and asks every session to end: they are told one after the other over the first half of the
    /// window, each finishes its accepts and ends. Returns when all have ended or the window is over; says how many
    /// are left.
    pub async fn drain(&self, window: Duration) -> usize {
        self.shared.draining.cancel();
        let deadline = Instant::now() + window;
        let mut inboxes = self.shared.registry.inboxes();
        chance::shuffle(&mut inboxes);
        let step = window.mul_f64(DRAIN_PACING) / DRAIN_STEPS;
        let per_step = inboxes.len().div_ceil(DRAIN_STEPS as usize).max(1);
        for (n, some) in inboxes.chunks(per_step).enumerate() {
            if n > 0 {
                tokio::time::sleep(step).await;
            }
            some.iter().for_each(|inbox| inbox.drain());
        }
        // Sessions that opened while the others were told.
        self.shared.registry.inboxes().iter().for_each(|inbox| inbox.drain());
        self.shared.tasks.close();
        if tokio::time::timeout_at(deadline, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.shared.tasks.len(), "streams are left at the end of the drain window");
        }
        self.shared.acks.flush(&self.shared).await;
        self.shared.tasks.len()
    }
}

async fn set_serving(health: &HealthReporter, serving: bool) {
    let status = match serving {
        true => tonic_health::ServingStatus::Serving,
        false => tonic_health::ServingStatus::NotServing,
    };
    for service in ["", "nimbus.v1.Gateway", "nimbus.NimbusService"] {
        health.set_service_status(service, status).await;
    }
}
