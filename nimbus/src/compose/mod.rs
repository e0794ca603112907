//! The composition root: the only place that knows every part. Read it top to bottom.
//!
//! Sockets are bound before anything runs, and served when everything behind them is up. What has a loop is registered
//! with the shutdown plan for the phase in which it has to end (`docs/adr/0005-shutdown-order.md`).

mod backend;
mod listeners;
mod ports;
mod settings;
mod signals;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use nimbus_config::Config;
use nimbus_consumers::{
    Catalogue, ExecutorMetrics, ExecutorPorts, RouterMetrics, RouterPorts, run_executors, run_router,
};
use nimbus_core::{
    ServerId,
    clock::{Clock, SystemClock},
    shutdown::{Cause, End, Phase, Shutdown},
};
use nimbus_server::{Edge, EdgePorts};
use nimbus_telemetry::{
    Readiness,
    admin::{self, Admin},
    register_process_metrics,
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(crate) use self::{
    backend::open_failure,
    listeners::Listeners,
    ports::{Place, Ports, open_ports},
    signals::Signals,
};
use crate::exit::{Exit, Failure, OrExit};

/// What a server that is up can say about itself.
#[derive(Debug, Clone)]
pub(crate) struct Up {
    pub(crate) server: ServerId,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
}

/// Runs a whole server until a signal, or until a part of it fails. `up` is called when it takes work.
pub(crate) async fn run(
    config: &Config,
    listeners: Listeners,
    mut signals: Signals,
    up: impl FnOnce(&Up),
) -> Result<Exit, Failure> {
    let shutdown = Shutdown::new();
    let readiness = Readiness::new(shutdown.token(Phase::NotReady));
    let failed = Failed::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let server = settings::server_id(&config.listen)?;

    // The admin endpoint first: whoever asks learns what the start is waiting for.
    let admin = Admin { readiness: readiness.clone(), registry: Arc::new(OnceLock::new()) };
    let registry_slot = Arc::clone(&admin.registry);
    let state = Up { server: server.clone(), grpc: listeners.grpc_address, admin: listeners.admin_address };
    if let Some(listener) = listeners.admin {
        let report = failed.clone();
        shutdown.spawn(Phase::StopAdmin, "admin endpoint", |stop| async move {
            report.unless_ok("admin endpoint", admin::serve(listener, admin, stop).await);
        });
    }

    // The backend: logs, mailbox, notifier. A signal while it opens (a large log takes its time) ends the process.
    let starting = readiness.latch("backend");
    let mut registry = Registry::default();
    register_process_metrics(&mut registry, env!("CARGO_PKG_VERSION"));
    let backend = tokio::select! {
        opened = backend::open(config, Arc::clone(&clock), &mut registry) => opened?,
        _ = signals.next() => return Ok(Exit::Interrupted),
    };

    // Executors: events to results.
    let catalogue = Arc::new(Catalogue::try_new(nimbus_executors::builtin()).or_exit(Exit::Failed)?);
    let ports = ExecutorPorts {
        events: Arc::clone(&backend.events),
        results: Arc::clone(&backend.results),
        dead_letters: Arc::clone(&backend.dead_letters),
        clock: Arc::clone(&clock),
    };
    let (executor_config, metrics) = (settings::executor(config, &server), ExecutorMetrics::register(&mut registry));
    failed.watch(&shutdown, Phase::SettleConsumers, "executors", |stop| {
        run_executors(ports, catalogue, executor_config, metrics, stop)
    });

    // Router: results to mailboxes.
    let ports = RouterPorts { results: Arc::clone(&backend.results), mailbox: Arc::clone(&backend.mailbox) };
    let (router_config, metrics) = (settings::router(config), RouterMetrics::register(&mut registry));
    failed.watch(&shutdown, Phase::SettleConsumers, "router", |stop| run_router(ports, router_config, metrics, stop));

    // The edge: streams to sessions.
    let ports = EdgePorts {
        events: backend.events,
        results: backend.results,
        mailbox: backend.mailbox,
        notifier: backend.notifier,
        authenticator: settings::authenticator(&config.auth),
        clock,
    };
    let metrics = nimbus_server::Metrics::register(&mut registry);
    let edge = Edge::new(ports, settings::edge(config, server), metrics);
    let (listener, window) = (listeners.grpc, config.shutdown.drain_window);
    failed.watch(&shutdown, Phase::DrainStreams, "edge", |drain| async move {
        let cut = CancellationToken::new();
        let mut serving = std::pin::pin!(edge.serve(listener, cut.clone()));
        tokio::select! {
            ended = &mut serving => return ended,
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

    let close = backend.close;
    failed.watch(&shutdown, Phase::CloseBackends, "backend", |stop| async move {
        stop.cancelled().await;
        close().await
    });

    if registry_slot.set(registry).is_err() {
        warn!("metrics were published twice");
    }
    drop(starting);
    up(&state);

    let cause = tokio::select! {
        signal = signals.next() => Cause::Asked(signal),
        cause = shutdown.requested() => cause,
    };
    info!(%cause, "shutting down");
    let again = async {
        signals.next().await;
    };
    let outcome = shutdown.run(config.shutdown.timeout, again).await;
    let elapsed_ms = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
    info!(elapsed_ms, end = ?outcome.end, stragglers = ?outcome.stragglers, "shut down");
    match (outcome.end, failed.take(), cause) {
        (End::Forced, _, _) => Ok(Exit::Interrupted),
        (_, Some(failure), _) => Err(failure),
        // A part that panicked, or ended with nothing to say, has failed as well.
        (_, None, Cause::TaskEnded(_)) => Err(Failure::new(Exit::Failed, cause)),
        (End::Late, None, Cause::Asked(_)) => Ok(Exit::Failed),
        (End::Clean, None, Cause::Asked(_)) => Ok(Exit::Done),
    }
}

/// The first failure of a part, for the exit code; later ones are mostly its consequences and only logged.
#[derive(Debug, Clone, Default)]
struct Failed {
    first: Arc<Mutex<Option<Failure>>>,
}

impl Failed {
    /// Spawns a part that lives until `phase`. When it ends before, the whole process shuts down in good order.
    fn watch<F, E>(
        &self,
        shutdown: &Shutdown,
        phase: Phase,
        name: &'static str,
        part: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error>,
    {
        let report = self.clone();
        shutdown.spawn(phase, name, |stop| {
            let part = part(stop);
            async move { report.unless_ok(name, part.await) }
        });
    }

    fn unless_ok<E: Into<anyhow::Error>>(&self, name: &'static str, ended: Result<(), E>) {
        if let Err(error) = ended {
            let error = error.into().context(format!("the {name} failed"));
            error!(part = name, error = format!("{error:#}"), "a part failed");
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(Failure { exit: Exit::Failed, error });
        }
    }

    fn take(&self) -> Option<Failure> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
