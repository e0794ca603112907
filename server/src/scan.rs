//! Reads old results from the log for clients that resume from below the mailbox's floor.
//!
//! After a restart many clients resume at once, and their results lie mixed in the same partitions. So one task per
//! partition serves all of them: it reads the log once, from the lowest position asked for, and hands each client its own
//! records after the same fold as the mailbox (rules 11, 14, 23). A client whose page is full drops out and asks again.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use nimbus_core::{
    ClientId, Origin, Partition, Position, ResultRecord,
    chance::HashMap,
    clock::UnixMillis,
    mailbox::{Fold, Verdict},
    ports::log::{LogError, LogRecord as _, ResultLog, Stored},
    session::Fetch,
};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use crate::{metrics::Metrics, stream::FetchedPage};

/// How much of the log one step reads, in bytes.
const STEP_BYTES: usize = 1024 * 1024;
/// How many requests may wait for a partition's task; more wait in line.
const WAITING_SCANS: usize = 1_024;

/// What a scan brought.
type Page = Result<FetchedPage, LogError>;

/// One client's wish.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    origin: Arc<Origin>,
    at: Position,
    room_records: usize,
    room_bytes: usize,
    fold: Fold,
    found: Vec<Stored<ResultRecord>>,
}

impl ScanRequest {
    pub(crate) fn new(origin: Arc<Origin>, fetch: Fetch) -> Self {
        Self {
            fold: Fold::seeded(origin.outbox, fetch.answered, fetch.answered_beyond),
            origin,
            at: fetch.from,
            room_records: fetch.max_records,
            room_bytes: fetch.max_bytes,
            found: Vec::new(),
        }
    }

    /// Looks at one record; true when the page is full.
    fn offer(&mut self, stored: &Stored<ResultRecord>) -> bool {
        if self.at.covers(stored.offset) {
            return false;
        }
        // A client id that changed hands starts empty: the former principal's results are not this client's.
        let mine = stored.record.origin.principal == self.origin.principal;
        if mine && self.fold.admit(stored.offset, &stored.record, UnixMillis(0)) == Verdict::Fresh {
            self.room_records -= 1;
            self.room_bytes = self.room_bytes.saturating_sub(stored.record.weight());
            self.found.push(stored.clone());
        }
        self.at = stored.offset.position_after();
        self.room_records == 0 || self.room_bytes == 0
    }
}

struct Waiting {
    request: ScanRequest,
    answer: oneshot::Sender<Page>,
}

/// The scans of one server: a task per partition, started with the first scan.
pub(crate) struct Scanner {
    log: Arc<ResultLog>,
    metrics: Metrics,
    /// The way to each partition's task, once there is one.
    queues: Vec<Mutex<Option<mpsc::Sender<Waiting>>>>,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Scanner {
    pub(crate) fn new(log: Arc<ResultLog>, metrics: Metrics) -> Self {
        let queues = log.partitions().all().map(|_| Mutex::default()).collect();
        Self { log, metrics, queues }
    }

    /// Reads one page. Waits for its turn. Cancel safe.
    pub(crate) async fn scan(&self, request: ScanRequest) -> Page {
        let partition = self.log.partitions().partition_of(&request.origin.client);
        let queue = self.queue(partition);
        let (answer, page) = oneshot::channel();
        let gone = || LogError::Unavailable("the scan task is gone".to_owned());
        queue.send(Waiting { request, answer }).await.map_err(|_| gone())?;
        page.await.map_err(|_| gone())?
    }

    fn queue(&self, partition: Partition) -> mpsc::Sender<Waiting> {
        let mut queue = self.queues[partition.0 as usize].lock().unwrap_or_else(PoisonError::into_inner);
        match &*queue {
            // A task that is gone (it panicked) is replaced: one bad scan must not end all later ones.
            Some(queue) if !queue.is_closed() => queue.clone(),
            Some(_) | None => queue.insert(self.start(partition)).clone(),
        }
    }

    /// The task ends when the scanner is dropped, for then its queue closes.
    fn start(&self, partition: Partition) -> mpsc::Sender<Waiting> {
        let (queue, requests) = mpsc::channel(WAITING_SCANS);
        let pass =
            Pass { log: Arc::clone(&self.log), metrics: self.metrics.clone(), partition, clients: HashMap::default() };
        tokio::spawn(pass.run(requests).instrument(tracing::debug_span!("scan", %partition)));
        queue
    }
}

/// One partition's scans.
struct Pass {
    log: Arc<ResultLog>,
    metrics: Metrics,
    partition: Partition,
    clients: HashMap<ClientId, Vec<Waiting>>,
}

impl Pass {
    async fn run(mut self, mut requests: mpsc::Receiver<Waiting>) {
        while let Some(first) = requests.recv().await {
            self.metrics.log_scans.inc();
            self.add(first);
            while !self.clients.is_empty() {
                while let Ok(more) = requests.try_recv() {
                    self.add(more);
                }
                if let Err(Failed { from, error }) = self.step().await {
                    self.fail(from, &error);
                }
            }
        }
    }

    fn add(&mut self, waiting: Waiting) {
        self.clients.entry(waiting.request.origin.client.clone()).or_default().push(waiting);
    }

    /// Reads one piece of the log, at the lowest position anyone waits for.
    async fn step(&mut self) -> Result<(), Failed> {
        let Some(from) = self.clients.values().flatten().map(|waiting| waiting.request.at).min() else { return Ok(()) };
        let batch = self.log.read(self.partition, from, STEP_BYTES).await.map_err(|error| Failed { from, error })?;
        self.metrics.log_scan_records.inc_by(batch.records.len() as u64);
        for stored in batch.records.iter() {
            let client = &stored.record.origin.client;
            let Some(waiting) = self.clients.get_mut(client) else { continue };
            for full in waiting.extract_if(.., |waiting| waiting.request.offer(stored)) {
                full.complete(false);
            }
            if waiting.is_empty() {
                self.clients.remove(client);
            }
        }
        let at_the_end = batch.next == from;
        for waiting in self.clients.values_mut() {
            for waiting in waiting.iter_mut() {
                waiting.request.at = waiting.request.at.max(batch.next);
            }
            // A page that found something is not held back for more.
            let done =
                |waiting: &mut Waiting| at_the_end || waiting.answer.is_closed() || !waiting.request.found.is_empty();
            waiting.extract_if(.., done).for_each(|waiting| waiting.complete(at_the_end));
        }
        self.clients.retain(|_, waiting| !waiting.is_empty());
        Ok(())
    }

    /// Answers those whom the error concerns: whoever asked from behind it is read on for.
    fn fail(&mut self, from: Position, error: &LogError) {
        let upto = match error {
            LogError::Expired { start, .. } => Position(start.0.saturating_sub(1)),
            LogError::Damaged(_) => from,
            _ => Position(u64::MAX),
        };
        for waiting in self.clients.values_mut() {
            let concerned = |waiting: &mut Waiting| waiting.request.at <= upto.max(from);
            waiting.extract_if(.., concerned).for_each(|waiting| waiting.answer(Err(error.clone())));
        }
        self.clients.retain(|_, waiting| !waiting.is_empty());
    }
}

/// A step that could not be read.
struct Failed {
    /// Where it began.
    from: Position,
    error: LogError,
}

impl Waiting {
    /// `complete`: nothing was held back, the end of the log was reached.
    fn complete(self, complete: bool) {
        let Self { request, answer } = self;
        Self::send(answer, Ok(FetchedPage { records: request.found, through: request.at, complete }));
    }

    fn answer(self, page: Page) {
        Self::send(self.answer, page);
    }

    fn send(answer: oneshot::Sender<Page>, page: Page) {
        if answer.send(page).is_err() {
            tracing::trace!("a client left while its old results were read");
        }
    }
}

#[cfg(test)]
mod tests;
