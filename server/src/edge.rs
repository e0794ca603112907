//! The edge of one server: its gRPC services, its dispatcher, and how both end.

use std::{io, sync::Arc, time::Duration};

use futures_util::Stream;
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
use tonic::{service::Routes, transport::server::TcpIncoming};
use tonic_health::server::HealthReporter;

use crate::{
    config::EdgeConfig,
    dispatch,
    gentle::Gentle,
    http2,
    metrics::Metrics,
    original::OriginalService,
    shared::{EdgePorts, Shared},
    tls::Tls,
    v1::GatewayService,
};

/// The largest message the edge reads at all, in bytes: the largest payload and everything that may come with it. What
/// is larger than the session's limit but below this is answered as the event's ERROR; beyond, the stream ends.
const MAX_MESSAGE_BYTES: usize = MAX_PAYLOAD_CAP_BYTES + MAX_ATTRIBUTE_BYTES + 64 * 1024;
/// How far apart sessions are told of a drain at least; where there are more of them than moments, some are told together. Each
/// reconnect is work for another server, so that a hundred of them in one moment are felt by everybody else there.
const DRAIN_STEP: Duration = Duration::from_millis(5);
/// Which part of the drain window is used for telling sessions; the rest is for them to end.
const DRAIN_PACING: f64 = 0.5;

/// Why the edge could not be or stay up.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
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

    /// Serves until `stop` is cancelled, then cuts whatever streams are left: call [`drain`](Self::drain) before. With a
    /// certificate every connection has to speak TLS, without one none may.
    ///
    /// # Errors
    /// [`EdgeError`]: the notifier failed. Retry by starting again.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
        stop: CancellationToken,
    ) -> Result<(), EdgeError> {
        let incoming = Gentle::new(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let Some(tls) = tls else { return self.serve_connections(incoming, stop).await };
        let metrics = &self.shared.metrics;
        tokio::select! {
            served = self.serve_connections(tls.clone().over(incoming, metrics.clone()), stop) => served,
            never = tls.keep_up(metrics) => match never {},
        }
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
        let (health, health_service) = tonic_health::server::health_reporter();
        set_serving(&health, true).await;
        let reflection = || {
            let both = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
            let builder = tonic_reflection::server::Builder::configure();
            both.into_iter().fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
        };
        let routes = Routes::new(health_service)
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
            () = http2::serve(routes, &self.shared.config, self.shared.now(), connections) => Ok(()),
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
        let pace = Pace::new(inboxes.len(), window);
        let began = Instant::now();
        for (n, some) in (0..).zip(inboxes.chunks(pace.together)) {
            // From the beginning, not from the one before: what a late wake-up costs does not add up.
            tokio::time::sleep_until(began + pace.step * n).await;
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

/// How sessions are told of a drain, one after the other, in an order that is drawn.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    /// So many at a time.
    together: usize,
    /// From one time to the next.
    step: Duration,
}

impl Pace {
    /// Evenly over the part of the window that is for telling.
    fn new(sessions: usize, window: Duration) -> Self {
        let pacing = window.mul_f64(DRAIN_PACING);
        let moments = (pacing.as_millis() / DRAIN_STEP.as_millis()).max(1);
        let together = sessions.div_ceil(usize::try_from(moments).unwrap_or(usize::MAX)).max(1);
        let steps = u32::try_from(sessions.div_ceil(together)).unwrap_or(u32::MAX).max(1);
        Self { together, step: pacing / steps }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_tells_sessions_evenly_over_half_of_its_window_and_few_at_a_time() {
        let window = Duration::from_secs(5);
        for sessions in [0, 1, 2, 7, 100, 500, 501, 5_000, 100_000] {
            let Pace { together, step } = Pace::new(sessions, window);
            let steps = sessions.div_ceil(together);
            assert!(step * u32::try_from(steps).unwrap() <= window / 2, "{sessions}");
            // A thousandth of them in one moment, or one.
            assert!(together <= sessions.div_ceil(400).max(1), "{sessions}: {together} together");
            assert!(sessions < 2 || step * u32::try_from(steps).unwrap() > window / 4, "{sessions}: too soon");
        }
        assert_eq!(Pace::new(5_000, Duration::ZERO).step, Duration::ZERO, "no window, no pacing");
    }
}
