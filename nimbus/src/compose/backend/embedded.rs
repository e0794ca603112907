//! Everything in one directory.

use std::sync::Arc;

use nimbus_config::Config;
use nimbus_core::clock::Clock;
use nimbus_embedded::{Embedded, OpenError};
use prometheus_client::registry::Registry;

use super::Backend;
use crate::{
    compose::settings,
    exit::{Exit, Failure},
};

pub(super) async fn open(config: &Config, clock: Arc<dyn Clock>, registry: &mut Registry) -> Result<Backend, Failure> {
    let store = Embedded::open(settings::embedded(config), clock, registry).await.map_err(open_failure)?;
    Ok(Backend {
        events: store.events(),
        results: store.results(),
        dead_letters: store.dead_letters(),
        mailbox: store.mailbox(),
        notifier: store.notifier(),
        upkeep: None,
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
