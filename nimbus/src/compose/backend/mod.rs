//! Which backend: the one place where the mode is chosen. Everything above it gets ports and cannot tell.

#[cfg(all(feature = "kafka", feature = "redis"))]
mod distributed;
mod embedded;
#[cfg(all(feature = "kafka", feature = "redis"))]
mod epoch;

use std::{future::Future, pin::Pin, sync::Arc};

use nimbus_config::Config;
use nimbus_core::{
    clock::Clock,
    ports::{
        log::{DeadLetterLog, EventLog, ResultLog},
        mailbox::Mailbox,
        notifier::Notifier,
    },
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

pub(crate) use self::embedded::open_failure;
use super::Role;
use crate::exit::Failure;

type Closing = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Work of the backend itself, until the token is cancelled.
type Upkeep = Box<dyn FnOnce(CancellationToken) -> Closing + Send>;

/// The ports that a process is built on.
pub(crate) struct Backend {
    pub(crate) events: Arc<EventLog>,
    pub(crate) results: Arc<ResultLog>,
    pub(crate) dead_letters: Arc<DeadLetterLog>,
    pub(crate) mailbox: Arc<dyn Mailbox>,
    pub(crate) notifier: Arc<dyn Notifier>,
    /// Ends when the backend is no longer what it was opened as; then the whole process has to end.
    pub(crate) upkeep: Option<Upkeep>,
    /// Makes everything durable and lets go of it.
    pub(crate) close: Box<dyn FnOnce() -> Closing + Send>,
}

/// Opens the backend of a role.
pub(crate) async fn open(
    role: Role,
    config: &Config,
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Backend, Failure> {
    if role.is_embedded() {
        return embedded::open(config, clock, registry).await;
    }
    shared(role, config, clock, registry).await
}

#[cfg(all(feature = "kafka", feature = "redis"))]
pub(crate) use distributed::logs;
#[cfg(all(feature = "kafka", feature = "redis"))]
use distributed::open as shared;

#[cfg(not(all(feature = "kafka", feature = "redis")))]
async fn shared(role: Role, _: &Config, _: Arc<dyn Clock>, _: &mut Registry) -> Result<Backend, Failure> {
    Err(not_in_this_build(role.name()))
}

/// The logs alone, of an installation on Kafka.
#[cfg(not(all(feature = "kafka", feature = "redis")))]
pub(crate) async fn logs(_: &Config) -> Result<super::Ports, Failure> {
    Err(not_in_this_build("dlq"))
}

#[cfg(not(all(feature = "kafka", feature = "redis")))]
fn not_in_this_build(command: &str) -> Failure {
    let message =
        format!("this build has no Kafka and Redis in it, which `nimbus {command}` works on; `make build` makes one that has");
    Failure::new(crate::exit::Exit::Usage, message)
}
