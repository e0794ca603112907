//! The composition root: the only place that knows every part. Read it top to bottom.
//!
//! Sockets are bound before anything runs, and served when everything behind them is up. What has a loop is registered
//! with the shutdown plan for the phase in which it has to end (`docs/adr/0005-shutdown-order.md`).

mod backend;
mod listeners;
mod parts;
mod ports;
mod role;
mod settings;
mod signals;
pub(crate) mod view;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use nimbus_config::Config;
use nimbus_core::{
    ServerId,
    clock::{Clock, SystemClock},
    ports::log::LogError,
    shutdown::{Cause, End, Phase, Shutdown},
};
use nimbus_telemetry::{
    Readiness,
    admin::{self, Admin},
    register_process_metrics,
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::parts::Parts;
pub(crate) use self::{
    backend::{client, examine, open_failure, topics},
    listeners::Listeners,
    ports::{Place, Ports, open_ports},
    role::Role,
    signals::Signals,
};
use crate::exit::{Exit, Failure};

/// What a server that is up can say about itself.
#[derive(Debug, Clone)]
pub(crate) struct Up {
    pub(crate) server: ServerId,
    pub(crate) role: Role,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

/// Runs a role until a signal, or until a part of it fails. `up` is called when all parts are started; a consumer takes work when its
/// groups have taken it in as well, which can take as long as a session of one that died, and which `/ready` tells.
pub(crate) async fn run(
    role: Role,
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
    let grpc = listeners.grpc.as_ref().map(|(_, address)| *address);
    let state = Up { server: server.clone(), role, grpc, admin: listeners.admin_address };
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
        opened = backend::open(role, config, Arc::clone(&clock), &mut registry) => opened?,
        _ = signals.next() => return Ok(Exit::Interrupted),
    };

    let (shutdown, failed) = (&shutdown, &failed);
    let mut parts =
        Parts { shutdown, failed, readiness: &readiness, config, server, backend: &backend, clock, registry };
    if role.executes() {
        parts.executors()?;
    }
    if role.routes() {
        parts.router();
    }
    if let Some((listener, _)) = listeners.grpc {
        parts.edge(listener, listeners.tls);
    }
    let registry = parts.registry;
    if let Some(upkeep) = backend.upkeep {
        failed.watch(shutdown, Phase::CloseBackends, "upkeep of the backend", upkeep);
    }
    let close = backend.close;
    failed.watch(shutdown, Phase::CloseBackends, "backend", |stop| async move {
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
            first.get_or_insert(Failure { exit: exit_of(&error), error });
        }
    }

    fn take(&self) -> Option<Failure> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A log that cannot be read is no better after a restart; one that is another log is, and whatever else failed may be.
fn exit_of(error: &anyhow::Error) -> Exit {
    match error.chain().find_map(|cause| cause.downcast_ref::<LogError>()) {
        Some(LogError::Damaged(_)) => Exit::Data,
        Some(LogError::Replaced(_)) => Exit::Unavailable,
        _ => Exit::Failed,
    }
}
