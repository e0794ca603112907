//! Which backend: the one place where the mode is chosen. Everything above it gets ports and cannot tell.

use std::sync::Arc;

use nimbus_config::Config;
use nimbus_core::{
    clock::Clock,
    ports::{
        log::{DeadLetterLog, EventLog, ResultLog},
        mailbox::Mailbox,
        notifier::Notifier,
    },
};
use nimbus_embedded::{Embedded, OpenError};
use prometheus_client::registry::Registry;

use super::settings;
use crate::exit::{Exit, Failure};

type Closing = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The ports that a server is built on.
pub(crate) struct Backend {
    pub(crate) events: Arc<EventLog>,
    pub(crate) results: Arc<ResultLog>,
    pub(crate) dead_letters: Arc<DeadLetterLog>,
    pub(crate) mailbox: Arc<dyn Mailbox>,
    pub(crate) notifier: Arc<dyn Notifier>,
    /// Makes everything durable and lets go of it.
    pub(crate) close: Box<dyn FnOnce() -> Closing + Send>,
}

/// Opens the backend. There is one mode as yet; another is another arm here and a crate in `adapters/`.
pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>, registry: &mut Registry) -> Result<Backend, Failure> {
    embedded(config, clock, registry).await
}

async fn embedded(config: &Config, clock: Arc<dyn Clock>, registry: &mut Registry) -> Result<Backend, Failure> {
    let store = Embedded::open(settings::embedded(config), clock, registry).await.map_err(open_failure)?;
    Ok(Backend {
        events: store.events(),
        results: store.results(),
        dead_letters: store.dead_letters(),
        mailbox: store.mailbox(),
        notifier: store.notifier(),
        close: Box::new(move || Box::pin(async move { Ok(store.close().await?) })),
    })
}

/// The exit code of a data directory that cannot be opened.
pub(crate) fn open_failure(error: OpenError) -> Failure {
    let exit = match &error {
        OpenError::InUse { .. } => Exit::Unavailable,
        OpenError::Partitions { .. } | OpenError::Config(_) => Exit::Usage,
        OpenError::NewerFormat { .. } | OpenError::OlderFormat { .. } | OpenError::Damaged { .. } => Exit::Data,
        OpenError::Io { .. } => Exit::Io,
    };
    let advice = match &error {
        OpenError::Partitions { .. } => " (the setting is NIMBUS_PARTITIONS)",
        OpenError::InUse { .. } => " (the setting is NIMBUS_DATA_DIR)",
        _ => "",
    };
    Failure::new(exit, format!("{error}{advice}"))
}
