//! The clients of the distributed demonstration: the SDK, each with books of its own.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nimbus_client::{Client, Error, Event, Incoming, Outbox, Outcome};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::super::verdict::{Books, Verdict};
use crate::exit::{Exit, Failure, OrExit};

/// Half of them keep their outbox in a file, the others in memory.
pub(super) const CLIENTS: usize = 8;
/// One event of one client: fast enough that each kill strikes in the middle of work, slow enough to be watched.
const PACE: Duration = Duration::from_millis(20);
/// How many events a client may have sent and not yet seen answered.
const IN_FLIGHT: u64 = 64;

/// What all clients have sent and got so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) sent: AtomicU64,
    pub(super) answered: AtomicU64,
}

/// Clients that send until told to stop.
#[derive(Debug)]
pub(super) struct Clients {
    tasks: JoinSet<Result<Verdict, Error>>,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
}

impl Clients {
    /// Starts them; outbox files go into this directory.
    pub(super) async fn start(balancer: SocketAddr, directory: &Path) -> Result<Self, Failure> {
        let (progress, stop, mut tasks) = (Arc::new(Progress::default()), CancellationToken::new(), JoinSet::new());
        for number in 1..=CLIENTS {
            let name = format!("demo-phone-{number}");
            let outbox = if number.is_multiple_of(2) {
                Outbox::file(directory.join(format!("{name}.outbox")))
            } else {
                Outbox::memory()
            };
            let client = Client::builder(format!("http://{balancer}")).client_id(name).outbox(outbox);
            let client = client.start().await.or_exit(Exit::Failed)?;
            tasks.spawn(run(client, Arc::clone(&progress), stop.clone()));
        }
        Ok(Self { tasks, progress, stop })
    }

    /// The books of the next one that has ended; `None` when all have. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Verdict>, Failure> {
        match self.tasks.join_next().await {
            None => Ok(None),
            Some(Ok(verdict)) => verdict.map(Some).or_exit(Exit::Failed),
            Some(Err(panicked)) => Err(panicked).or_exit(Exit::Failed),
        }
    }
}

/// Sends the numbers from 1 on until told to stop, and takes every answer.
async fn run(client: Client, progress: Arc<Progress>, stop: CancellationToken) -> Result<Verdict, Error> {
    let (mut books, mut number, mut stopping) = (Books::default(), 0, false);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                client.goodbye();
            }
            _ = pace.tick(), if !stopping && books.outstanding() < IN_FLIGHT => {
                number += 1;
                books.sent(number);
                client.send(Event::new("sq", number.to_string())).await?;
                progress.sent.fetch_add(1, Ordering::Relaxed);
            }
            incoming = client.recv() => match incoming? {
                Some(Incoming::Answer(answer)) => {
                    let square = square(&answer.outcome);
                    books.answer(answer.seq.get(), square);
                    progress.answered.fetch_add(1, Ordering::Relaxed);
                }
                // A gap, or an answer that came twice over the wire: neither may happen here.
                Some(_) => books.stray(),
                None => return Ok(books.close()),
            },
        }
    }
}

/// The number that an answer has; `None`: it has none.
fn square(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Final(body) => std::str::from_utf8(&body.payload).ok()?.parse().ok(),
        Outcome::Error(_) | Outcome::Unknown => None,
    }
}
