//! The parts that work on the ports: executors, router, edge. Each is spawned for the phase of the shutdown in which it has
//! to end.

use std::sync::Arc;

use nimbus_config::Config;
use nimbus_consumers::{
    Catalogue, ExecutorMetrics, ExecutorPorts, RouterMetrics, RouterPorts, run_executors, run_router,
};
use nimbus_core::{
    ServerId,
    clock::Clock,
    shutdown::{Phase, Shutdown},
};
use nimbus_server::{Edge, EdgePorts, Tls};
use nimbus_telemetry::Readiness;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Failed, backend::Backend, settings};
use crate::exit::{Exit, Failure, OrExit};

/// What every part is made from.
pub(super) struct Parts<'a> {
    pub(super) shutdown: &'a Shutdown,
    pub(super) failed: &'a Failed,
    pub(super) readiness: &'a Readiness,
    pub(super) config: &'a Config,
    pub(super) server: ServerId,
    pub(super) backend: &'a Backend,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registry: Registry,
}

impl Parts<'_> {
    /// Events to results.
    pub(super) fn executors(&mut self) -> Result<(), Failure> {
        let catalogue = Arc::new(Catalogue::try_new(nimbus_executors::builtin()).or_exit(Exit::Failed)?);
        let ports = ExecutorPorts {
            events: Arc::clone(&self.backend.events),
            results: Arc::clone(&self.backend.results),
            dead_letters: Arc::clone(&self.backend.dead_letters),
            clock: Arc::clone(&self.clock),
        };
        let config = settings::executor(self.config, &self.server);
        let metrics = ExecutorMetrics::register(&mut self.registry);
        let joining = self.readiness.latch("executors' groups");
        self.failed.watch(self.shutdown, Phase::SettleConsumers, "executors", |stop| {
            run_executors(ports, catalogue, config, metrics, joining, stop)
        });
        Ok(())
    }

    /// Results to mailboxes.
    pub(super) fn router(&mut self) {
        let ports =
            RouterPorts { results: Arc::clone(&self.backend.results), mailbox: Arc::clone(&self.backend.mailbox) };
        let (config, metrics) = (settings::router(self.config), RouterMetrics::register(&mut self.registry));
        let joining = self.readiness.latch("router's group");
        self.failed.watch(self.shutdown, Phase::SettleConsumers, "router", |stop| {
            run_router(ports, config, metrics, joining, stop)
        });
    }

    /// Streams to sessions.
    pub(super) fn edge(&mut self, listener: TcpListener, tls: Option<Tls>) {
        let ports = EdgePorts {
            events: Arc::clone(&self.backend.events),
            results: Arc::clone(&self.backend.results),
            mailbox: Arc::clone(&self.backend.mailbox),
            notifier: Arc::clone(&self.backend.notifier),
            authenticator: settings::authenticator(&self.config.auth),
            clock: Arc::clone(&self.clock),
        };
        let metrics = nimbus_server::Metrics::register(&mut self.registry);
        let edge = Edge::new(ports, settings::edge(self.config, self.server.clone()), metrics);
        let window = self.config.shutdown.drain_window;
        self.failed.watch(self.shutdown, Phase::DrainStreams, "edge", |drain| async move {
            let cut = CancellationToken::new();
            let mut serving = std::pin::pin!(edge.serve(listener, tls, cut.clone()));
            tokio::select! {
                ended = &mut serving => {
                    // Nothing comes in any more, and nothing is notified; what is there still ends in good order.
                    edge.drain(window).await;
                    return ended;
                }
                () = drain.cancelled() => {}
            }
            // Sessions end themselves while the edge still serves them; what is left after the window is cut.
            tokio::select! {
                ended = &mut serving => return ended,
                left = edge.drain(window) => info!(left, "streams drained"),
            }
            cut.cancel();
            serving.await
        });
    }
}
