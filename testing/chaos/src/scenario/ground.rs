//! What a scenario is staged on: the whole installation, or one process on its own log. Above it nobody can tell.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::On;
use crate::{
    process::Nimbus,
    site::{Death, Site},
    way::Way,
};

/// The one process.
const ALONE: &str = "standalone";

#[derive(Debug)]
pub(super) enum Ground {
    Distributed(Box<Site>),
    Embedded(Box<Alone>),
}

/// One process, and the way to it.
#[derive(Debug)]
pub(super) struct Alone {
    binary: PathBuf,
    settings: Vec<(&'static str, String)>,
    log: PathBuf,
    process: Nimbus,
    clients: Way,
}

impl Ground {
    /// Starts everything and waits until it is ready. Data and logs go into `directory`.
    pub(super) async fn start(
        on: On,
        binary: &Path,
        directory: &Path,
        settings: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        match on {
            On::Distributed => Ok(Self::Distributed(Box::new(Site::start(binary, directory, &settings).await?))),
            On::Embedded => Ok(Self::Embedded(Box::new(Alone::start(binary, directory, settings).await?))),
        }
    }

    /// From clients to servers.
    pub(super) fn way(&self) -> &Way {
        match self {
            Self::Distributed(site) => &site.clients,
            Self::Embedded(alone) => &alone.clients,
        }
    }

    /// Where the servers listen.
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        match self {
            Self::Distributed(site) => site.servers(),
            Self::Embedded(alone) => alone.servers(),
        }
    }

    /// Everything of Nimbus that runs, by name.
    pub(super) fn processes(&self) -> Vec<(String, &Nimbus)> {
        match self {
            Self::Distributed(site) => site.processes(),
            Self::Embedded(alone) => vec![(ALONE.to_owned(), &alone.process)],
        }
    }

    /// The process ids of that, and of Kafka and Redis.
    pub(super) fn pids(&self) -> Vec<(String, u32)> {
        let services = match self {
            Self::Distributed(site) => site.services(),
            Self::Embedded(_) => Vec::new(),
        };
        self.processes().into_iter().map(|(name, process)| (name, process.pid())).chain(services).collect()
    }

    /// Sees who has ended by itself, and starts it again.
    pub(super) async fn look(&mut self) -> anyhow::Result<Vec<Death>> {
        match self {
            Self::Distributed(site) => site.look().await,
            Self::Embedded(alone) => alone.look().await,
        }
    }
}

impl Alone {
    async fn start(binary: &Path, directory: &Path, settings: Vec<(&'static str, String)>) -> anyhow::Result<Self> {
        let data = directory.join("data").display().to_string();
        let settings: Vec<_> = settings.into_iter().chain([("NIMBUS_DATA_DIR", data)]).collect();
        let log = directory.join(format!("{ALONE}.log"));
        let process = up(binary, &settings, &log).await?;
        let clients = Way::open(process.grpc.into_iter().collect()).await?;
        Ok(Self { binary: binary.to_owned(), settings, log, process, clients })
    }

    fn servers(&self) -> Vec<SocketAddr> {
        self.process.grpc.into_iter().collect()
    }

    async fn look(&mut self) -> anyhow::Result<Vec<Death>> {
        let Some(status) = self.process.ended()? else { return Ok(Vec::new()) };
        self.process = up(&self.binary, &self.settings, &self.log).await?;
        self.clients.lead_to(self.servers());
        Ok(vec![Death { name: ALONE.to_owned(), status: status.to_string() }])
    }
}

async fn up(binary: &Path, settings: &[(&'static str, String)], log: &Path) -> anyhow::Result<Nimbus> {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    Nimbus::start(binary, ALONE, settings, log).await
}
