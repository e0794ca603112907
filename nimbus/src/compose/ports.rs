//! The logs alone, for commands that work on what a server left or works on, and start nothing.

use std::{path::PathBuf, sync::Arc};

use nimbus_config::{Config, Loaded, Source};
use nimbus_core::{
    clock::{Clock, SystemClock},
    ports::log::{DeadLetterLog, EventLog},
};
use nimbus_embedded::{Embedded, EmbeddedConfig, tools};
use prometheus_client::registry::Registry;

use super::{
    backend::{self, open_failure},
    settings,
};
use crate::{cli::data, exit::Failure};

/// So long that nothing is deleted: a command that was started without the server's settings must not apply its own.
const NEVER: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 3600);

type Closing = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Where the logs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a data directory that no server uses.
    Directory(PathBuf),
    /// In Kafka.
    Distributed,
}

impl Place {
    /// A directory that was named; else Kafka, if somebody said where it is; else the directory of the settings.
    pub(crate) fn new(named: Option<&PathBuf>, loaded: &Loaded) -> Self {
        let is_set =
            |name| loaded.effective.iter().any(|entry| entry.setting.name == name && entry.source != Source::Default);
        match named {
            Some(dir) => Self::Directory(dir.clone()),
            None if is_set("NIMBUS_KAFKA_BROKERS") => Self::Distributed,
            None => Self::Directory(loaded.config.storage.dir.clone()),
        }
    }
}

/// The logs of events and of dead letters.
pub(crate) struct Ports {
    pub(crate) events: Arc<EventLog>,
    pub(crate) dead_letters: Arc<DeadLetterLog>,
    /// Makes everything durable and lets go of it.
    pub(crate) close: Box<dyn FnOnce() -> Closing + Send>,
}

/// Opens the logs at a place.
pub(crate) async fn open_ports(place: &Place, config: &Config) -> Result<Ports, Failure> {
    match place {
        Place::Directory(dir) => embedded(dir.clone(), config).await,
        Place::Distributed => backend::logs(config).await,
    }
}

/// A directory that is there already, as it is: without its number of partitions in the settings, and with nothing deleted.
async fn embedded(dir: PathBuf, config: &Config) -> Result<Ports, Failure> {
    let partitions = tools::partitions(&dir).map_err(data::failure)?;
    let ours = settings::embedded(config);
    let mut mailbox = ours.mailbox;
    mailbox.retention = NEVER;
    let config =
        EmbeddedConfig { data_dir: dir, partitions, retention: NEVER, retention_bytes: u64::MAX, mailbox, ..ours };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Embedded::open(config, clock, &mut Registry::default()).await.map_err(open_failure)?;
    Ok(Ports {
        events: store.events(),
        dead_letters: store.dead_letters(),
        close: Box::new(move || Box::pin(async move { Ok(store.close().await?) })),
    })
}

#[cfg(test)]
mod tests {
    use nimbus_config::Environment;

    use super::*;

    #[test]
    fn a_named_directory_comes_first_and_kafka_only_if_it_is_set() {
        let place = |pairs: &[(&str, &str)], named: Option<&str>| {
            let loaded = nimbus_config::load(&Environment::of_pairs(pairs.iter().copied())).unwrap();
            Place::new(named.map(PathBuf::from).as_ref(), &loaded)
        };
        let (kafka, dir) = (("NIMBUS_KAFKA_BROKERS", "127.0.0.1:9092"), ("NIMBUS_DATA_DIR", "/d"));
        assert_eq!(place(&[], None), Place::Directory("./data".into()));
        assert_eq!(place(&[dir], None), Place::Directory("/d".into()));
        assert_eq!(place(&[dir, kafka], None), Place::Distributed);
        assert_eq!(place(&[dir, kafka], Some("/e")), Place::Directory("/e".into()));
    }
}
