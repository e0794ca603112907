//! Clients that behave badly, on a thread of their own: what they burn is not taken from the clients whose latency is measured, beyond
//! what the machine has to share out anyway.
//!
//! None of them is judged, since none keeps to the rules; each counts what it did, so that it can be set beside what the servers counted.

mod flapper;
mod flooder;
mod never_reader;
mod poison;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use nimbus_client::{Client, Outbox};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long they may take to end.
const LIMIT: Duration = Duration::from_secs(10);

/// A way to behave badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misfit {
    /// Sends, and never reads what comes.
    NeverReader,
    /// Sends as fast as it is let.
    Flooder,
    /// Connects, says hello, sends one event and drops the connection, again and again.
    Flapper,
    /// Sends only what no executor can do.
    Poison,
}

impl Misfit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NeverReader, Self::Flooder, Self::Flapper, Self::Poison];

    /// As reports name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverReader => "never-reader",
            Self::Flooder => "flooder",
            Self::Flapper => "flapper",
            Self::Poison => "poison",
        }
    }

    /// What it counts.
    pub const fn deed(self) -> &'static str {
        match self {
            Self::NeverReader => "events sent, no answer read",
            Self::Flooder => "events sent",
            Self::Flapper => "connections made and dropped",
            Self::Poison => "events sent that fail",
        }
    }
}

/// Where they go, and who they are.
#[derive(Debug, Clone)]
struct Target {
    address: SocketAddr,
    /// What client ids begin with.
    run: String,
    bytes: usize,
    stop: CancellationToken,
    done: Arc<AtomicU64>,
}

impl Target {
    fn client(&self, misfit: Misfit) -> String {
        format!("{}-{}", self.run, misfit.name())
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of the SDK.
    async fn connect(&self, misfit: Misfit) -> anyhow::Result<Client> {
        let builder = Client::builder(self.url()).client_id(self.client(misfit)).outbox(Outbox::memory());
        Ok(builder.connect().await?)
    }

    fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends while it reads whatever comes, until either ends.
async fn reading(client: &Client, sending: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let reading = async {
        while client.recv().await?.is_some() {}
        Ok(())
    };
    tokio::select! {
        ended = sending => ended,
        ended = reading => ended,
    }
}

/// All four of them. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Misfits {
    stop: CancellationToken,
    done: BTreeMap<Misfit, Arc<AtomicU64>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Misfits {
    /// Lets them loose on an address.
    pub(super) fn loose(address: SocketAddr, run: &str, bytes: usize) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let done: BTreeMap<_, _> = Misfit::ALL.map(|misfit| (misfit, Arc::new(AtomicU64::new(0)))).into();
        let targets = done.iter().map(|(misfit, done)| {
            let (run, stop, done) = (run.to_owned(), stop.clone(), Arc::clone(done));
            (*misfit, Target { address, run, bytes, stop, done })
        });
        let targets: Vec<_> = targets.collect();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(all(targets))
        };
        let thread =
            thread::Builder::new().name("misfits".to_owned()).spawn(work).context("no thread for the misfits")?;
        Ok(Self { stop, done, thread: Some(thread) })
    }

    /// How often each did what it does.
    pub(super) fn deeds(&self) -> BTreeMap<Misfit, u64> {
        self.done.iter().map(|(misfit, done)| (*misfit, done.load(Ordering::Relaxed))).collect()
    }

    /// Ends them.
    ///
    /// # Errors
    /// One of them could not do what it is here for.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("a misfit panicked"))?
    }
}

impl Drop for Misfits {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn all(targets: Vec<(Misfit, Target)>) -> anyhow::Result<()> {
    let (mut running, mut stop) = (JoinSet::new(), None);
    for (misfit, target) in targets {
        stop.get_or_insert(target.stop.clone());
        running.spawn(async move {
            let (stop, behaving) = (target.stop.clone(), behave(misfit, target));
            tokio::select! {
                done = behaving => done.with_context(|| format!("the {}", misfit.name())),
                () = stop.cancelled() => Ok(()),
            }
        });
    }
    if let Some(stop) = stop {
        stop.cancelled().await;
    }
    let ended = async {
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    timeout(LIMIT, ended).await.context("the misfits did not end")?
}

async fn behave(misfit: Misfit, target: Target) -> anyhow::Result<()> {
    match misfit {
        Misfit::NeverReader => never_reader::behave(&target).await,
        Misfit::Flooder => flooder::behave(&target).await,
        Misfit::Flapper => flapper::behave(&target).await,
        Misfit::Poison => poison::behave(&target).await,
    }
}
