//! The connection task: keeps records, opens streams, feeds the machine. One task per client, whatever the load.
//!
//! Frames up are pulled out of the machine by the request stream ([`frames`]), so that HTTP/2's flow control reaches the
//! machine and nothing queues in between. Frames down are taken in batches: one lock for all that is there.

mod connector;
mod frames;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use nimbus_dial::root_cause;
use nimbus_proto::v1::{self, gateway_client::GatewayClient};
use tokio::{task::JoinHandle, time::Instant};
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};
use tracing::{Instrument, debug, info, info_span, warn};

pub use self::connector::{Connection, Connector};
use self::{connector::Through, frames::Frames};
use crate::{
    Error, State,
    machine::{Loss, Record},
    outbox::Journal,
    shared::Shared,
    status,
};

/// Most frames that are taken in one go: bounds how long the lock is held.
const BATCH: usize = 256;
/// Detects a dead peer or a dead path below the protocol's own pings.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A delivery is at most a payload of 1 MiB; the rest is for its envelope.
const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Where to connect and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    endpoint: Endpoint,
    authorization: Option<MetadataValue<Ascii>>,
    connector: Option<Arc<dyn Connector>>,
}

impl Target {
    pub(crate) fn try_new(
        address: &str,
        token: Option<&str>,
        authority: Option<Vec<u8>>,
        connector: Option<Arc<dyn Connector>>,
    ) -> Result<Self, Error> {
        let invalid = |what: String| Error::Invalid { what };
        if authority.is_some() && connector.is_some() {
            let what =
                "a connector and an authority are given: who is at the other end of a connector is for it to judge";
            return Err(invalid(what.to_owned()));
        }
        let endpoint = match connector {
            Some(_) => nimbus_dial::endpoint_of_connector(address),
            None => nimbus_dial::endpoint(address, authority.as_deref()),
        };
        let endpoint = endpoint
            .map_err(|error| invalid(error.to_string()))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = MetadataValue::try_from(format!("Bearer {token}"))
                    .map_err(|_| invalid("the token has characters that no HTTP header can carry".to_owned()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { endpoint, authorization, connector })
    }

    async fn open(self, frames: Frames) -> Result<Streaming<v1::ServerFrame>, Loss> {
        let connected = match self.connector {
            None => self.endpoint.connect().await,
            Some(connector) => self.endpoint.connect_with_connector(Through(connector)).await,
        };
        let channel = connected.map_err(|error| Loss::Retry { after: Duration::ZERO, why: root_cause(&error) })?;
        let mut request = Request::new(frames);
        if let Some(authorization) = self.authorization {
            request.metadata_mut().insert("authorization", authorization);
        }
        let mut client = GatewayClient::new(channel).max_decoding_message_size(MAX_FRAME_BYTES);
        let response = client.session(request).await.map_err(|status| status::loss(&status))?;
        Ok(response.into_inner())
    }
}

type Opening = futures_util::future::BoxFuture<'static, Result<Streaming<v1::ServerFrame>, Loss>>;

/// The stream, in whatever state it is.
enum Link {
    None,
    Opening(u64, Opening),
    Open(u64, Box<Open>),
}

struct Open {
    stream: Streaming<v1::ServerFrame>,
    /// How it ended, found while a batch was gathered.
    loss: Option<Loss>,
}

/// Where records go.
enum Keeper {
    /// Nowhere: the outbox is memory.
    Memory,
    File(Journal),
    /// The file failed: nothing may count as kept any more.
    Broken,
}

/// What came over the link.
enum News {
    Opened(Streaming<v1::ServerFrame>),
    Frames,
    Lost(Loss),
}

/// Starts the task. It ends after [`Core::stopping`](crate::shared::Core::stopping) was set, with the last records kept.
pub(crate) fn spawn(shared: Arc<Shared>, target: Target, journal: Option<Journal>, client_id: &str) -> JoinHandle<()> {
    let span = info_span!("nimbus_client", client_id);
    let keeper = journal.map_or(Keeper::Memory, Keeper::File);
    let task = Task { shared, target, keeper, link: Link::None, batch: Vec::with_capacity(BATCH) };
    tokio::spawn(task.run().instrument(span))
}

struct Task {
    shared: Arc<Shared>,
    target: Target,
    keeper: Keeper,
    link: Link,
    batch: Vec<v1::ServerFrame>,
}

impl Task {
    async fn run(mut self) {
        loop {
            self.keep_records().await;
            if self.shared.lock().stopping {
                // What was acknowledged since.
                self.keep_records().await;
                return;
            }
            self.tend_link().await;
            self.wait().await;
        }
    }

    /// Keeps what is due, then lets the machine build on it. A file that fails ends the machine: what is in the file by
    /// then is what a restart goes on from.
    async fn keep_records(&mut self) {
        let welcomed = matches!(*self.shared.state.borrow(), State::Connected(_));
        let (records, checkpoint, snapshot) = {
            let mut core = self.shared.lock();
            if !core.stopping && !core.machine.records_due(Instant::now()) {
                return;
            }
            let (records, checkpoint) = core.machine.take_records();
            let compacts = match &self.keeper {
                // A server has taken it for this client's: from now on it says so itself.
                Keeper::File(journal) => journal.wants_compaction() || welcomed && !journal.is_named(),
                Keeper::Memory | Keeper::Broken => false,
            };
            let snapshot = compacts.then(|| core.machine.snapshot());
            (records, checkpoint, snapshot)
        };
        match std::mem::replace(&mut self.keeper, Keeper::Broken) {
            Keeper::Broken => return,
            Keeper::Memory => self.keeper = Keeper::Memory,
            Keeper::File(journal) => match keep(journal, records, checkpoint.must_sync, snapshot).await {
                Ok(journal) => self.keeper = Keeper::File(journal),
                Err(error) => {
                    warn!(%error, "the outbox failed, the client stops");
                    self.shared.with(|core, _| core.machine.fail(error));
                    return;
                }
            },
        }
        self.shared.with(|core, _| core.machine.recorded(checkpoint));
        self.shared.wake_frames();
    }

    /// Opens or drops the stream as the machine wants it.
    async fn tend_link(&mut self) {
        let wanted = match &self.link {
            Link::None => true,
            Link::Opening(generation, _) | Link::Open(generation, _) => {
                self.shared.lock().machine.wants_stream(*generation)
            }
        };
        if !wanted {
            self.link = Link::None;
            // A request stream that waits must see that it is over.
            self.shared.wake_frames();
            log_state(&self.shared.state.borrow());
        }
        if !matches!(self.link, Link::None) {
            return;
        }
        let generation =
            self.shared.with(|core, now| core.machine.should_connect(now).then(|| core.machine.begin_connect(now)));
        let Some(generation) = generation else { return };
        // The session number must be kept before the server sees it.
        self.keep_records().await;
        if self.shared.lock().machine.wants_stream(generation) {
            let frames = Frames::new(Arc::clone(&self.shared), generation);
            self.link = Link::Opening(generation, self.target.clone().open(frames).boxed());
        }
    }

    /// Waits for whatever comes first and takes it in.
    async fn wait(&mut self) {
        let (deadline, paused) = {
            let mut core = self.shared.lock();
            core.sleeping_until = core.machine.next_deadline();
            core.paused = core.machine.is_full();
            (core.sleeping_until, core.paused)
        };
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Time first, or a steady stream of frames would starve it. Being notified means no more than another round, which
            // every branch is followed by: so that it comes last starves nobody.
            biased;
            () = sleep => self.shared.with(|core, now| core.machine.tick(now)),
            news = next(&mut self.link, &mut self.batch), if !paused => self.take_in(news),
            () = self.shared.task.notified() => {}
        }
        self.shared.wake_frames();
    }

    fn take_in(&mut self, news: News) {
        let generation = match &self.link {
            Link::None => return,
            Link::Opening(generation, _) | Link::Open(generation, _) => *generation,
        };
        match news {
            News::Opened(stream) => self.link = Link::Open(generation, Box::new(Open { stream, loss: None })),
            News::Frames => {
                let was_live = matches!(*self.shared.state.borrow(), State::Connected(_));
                self.shared.with(|core, now| {
                    for frame in self.batch.drain(..) {
                        core.machine.frame(now, generation, frame);
                    }
                });
                if !was_live {
                    log_state(&self.shared.state.borrow());
                }
            }
            News::Lost(loss) => self.shared.with(|core, now| core.machine.lost(now, generation, loss)),
        }
    }
}

/// Writes on a thread that may block.
async fn keep(
    mut journal: Journal,
    records: Vec<Record>,
    must_sync: bool,
    snapshot: Option<Vec<Record>>,
) -> Result<Journal, Error> {
    let path = journal.path().to_owned();
    let written = tokio::task::spawn_blocking(move || {
        match snapshot {
            // A snapshot holds what the records say.
            Some(snapshot) => journal.compact(&snapshot)?,
            None => journal.append(&records, must_sync)?,
        }
        Ok(journal)
    });
    match written.await {
        Ok(result) => result,
        // The runtime shuts down, or the write panicked: either way nothing is known to be kept.
        Err(error) => Err(Error::OutboxIo { path, source: Arc::new(std::io::Error::other(error)) }),
    }
}

/// Waits for news of the link. Cancel safe: frames are only taken when this returns.
async fn next(link: &mut Link, batch: &mut Vec<v1::ServerFrame>) -> News {
    match link {
        Link::None => std::future::pending().await,
        Link::Opening(_, opening) => match opening.await {
            Ok(stream) => News::Opened(stream),
            Err(loss) => News::Lost(loss),
        },
        Link::Open(_, open) => {
            if let Some(loss) = open.loss.take() {
                return News::Lost(loss);
            }
            match taken(open.stream.message().await) {
                Ok(frame) => batch.push(frame),
                Err(loss) => return News::Lost(loss),
            }
            while batch.len() < BATCH
                && open.loss.is_none()
                && let Some(more) = open.stream.message().now_or_never()
            {
                match taken(more) {
                    Ok(frame) => batch.push(frame),
                    Err(loss) => open.loss = Some(loss),
                }
            }
            News::Frames
        }
    }
}

fn taken(message: Result<Option<v1::ServerFrame>, tonic::Status>) -> Result<v1::ServerFrame, Loss> {
    match message {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(Loss::Ended),
        Err(status) => Err(status::loss(&status)),
    }
}

fn log_state(state: &State) {
    match state {
        State::Connected(session) => {
            info!(server = session.server_id, session = session.session_id, resumed = ?session.resumed, "connected");
        }
        State::Waiting { delay, why } => info!(?delay, why, "not connected, trying again"),
        State::Failed(error) => warn!(%error, "the client stops"),
        State::Connecting | State::Closed => debug!(?state, "connection state"),
    }
}
