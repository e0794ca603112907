//! Clients under load that keep the books: what each sent, what came back, and what is wrong with it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use nimbus_client::{Client, Event, Incoming, Outbox, Outcome};
use nimbus_harness::PATIENCE;
use tokio::{
    task::JoinSet,
    time::{Interval, interval, timeout},
};

/// How many events a client may have sent and not yet seen answered.
const IN_FLIGHT: u64 = 64;

/// What one client, or all of them, found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) wrong: u64,
    pub(crate) gaps: u64,
}

impl Books {
    /// Fails unless every event sent was answered exactly once, in order, with the right result.
    pub(crate) fn balance(&self) -> anyhow::Result<()> {
        let violations = self.lost + self.duplicated + self.reordered + self.wrong + self.gaps;
        if violations > 0 || self.sent != self.answered || self.sent == 0 {
            bail!("the books do not balance: {self}");
        }
        Ok(())
    }

    fn outstanding(&self) -> u64 {
        self.sent.saturating_sub(self.answered)
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.wrong += other.wrong;
        self.gaps += other.gaps;
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered, lost, duplicated, reordered, wrong, gaps } = self;
        write!(
            f,
            "sent {sent}, answered {answered}, lost {lost}, duplicated {duplicated}, reordered {reordered}, \
             wrong {wrong}, gaps {gaps}"
        )
    }
}

/// Clients that send as fast as answers come, or at a pace, until told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    /// How many each client sends.
    events: u64,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: JoinSet<anyhow::Result<Books>>,
    /// What each client has sent and has answers to.
    progress: Vec<Arc<Progress>>,
    /// Of clients that are done.
    done: Books,
}

impl Load {
    /// Starts so many clients against a server.
    pub(crate) fn start(url: &str, clients: usize) -> Self {
        Self::with(url, clients, u64::MAX, None)
    }

    /// The same, each with so many events: they end by themselves.
    pub(crate) fn of(url: &str, clients: usize, events: u64) -> Self {
        Self::with(url, clients, events, None)
    }

    /// The same, each with an event every so often and no more: what is restarted meanwhile has a processor to do it on.
    pub(crate) fn paced(url: &str, clients: usize, pace: Duration) -> Self {
        Self::with(url, clients, u64::MAX, Some(pace))
    }

    fn with(url: &str, clients: usize, events: u64, pace: Option<Duration>) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let progress: Vec<_> = (0..clients).map(|_| Arc::<Progress>::default()).collect();
        let mut tasks = JoinSet::new();
        for (n, own) in progress.iter().enumerate() {
            let (url, stop, answered) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&answered));
            let own = Arc::clone(own);
            tasks.spawn(async move {
                let builder = Client::builder(url).client_id(format!("load-{n}")).outbox(Outbox::memory());
                let client = builder.start().await?;
                let plan = Plan { events, pace };
                run(client, plan, &stop, &answered, &own).await.with_context(|| format!("client load-{n}"))
            });
        }
        Self { events, stop, answered, clients: tasks, progress, done: Books::default() }
    }

    /// Waits until so many more events were answered.
    pub(crate) async fn progress(&mut self, more: u64) -> anyhow::Result<()> {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = timeout(PATIENCE, reached);
        tokio::pin!(reached);
        loop {
            tokio::select! {
                reached = &mut reached => return reached.context("no progress"),
                ended = self.clients.join_next() => match ended {
                    // All its events are answered.
                    Some(Ok(Ok(books))) if books.sent == self.events => self.done.add(&books),
                    ended => bail!("a client ended early: {ended:?}"),
                },
            }
        }
    }

    /// Waits until every client has sent all its events and has all its answers.
    pub(crate) async fn completed(self) -> anyhow::Result<Books> {
        self.books().await
    }

    /// Stops sending, waits for what is outstanding, and closes the books.
    pub(crate) async fn finish(self) -> anyhow::Result<Books> {
        self.stop.store(true, Ordering::Relaxed);
        self.books().await
    }

    async fn books(mut self) -> anyhow::Result<Books> {
        let mut books = self.done;
        loop {
            match timeout(PATIENCE, self.clients.join_next()).await {
                Ok(Some(client)) => books.add(&client??),
                Ok(None) => return Ok(books),
                Err(_elapsed) => bail!("clients hang: {}", self.behind()),
            }
        }
    }

    /// The clients that have not all their answers, and those that have and do not end.
    fn behind(&self) -> String {
        let counts =
            self.progress.iter().map(|it| (it.sent.load(Ordering::Relaxed), it.answered.load(Ordering::Relaxed)));
        let open = counts.enumerate().filter(|(_, (sent, answered))| sent != answered);
        let open: Vec<_> = open.map(|(n, (sent, answered))| format!("load-{n} has {answered} of {sent}")).collect();
        format!("{} are not done; {}", self.clients.len(), open.join(", "))
    }
}

/// What a client has done so far.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    answered: AtomicU64,
}

/// What a client does.
#[derive(Debug, Clone, Copy)]
struct Plan {
    events: u64,
    /// The time between two events; nothing: as fast as answers come.
    pace: Option<Duration>,
}

async fn run(
    client: Client,
    plan: Plan,
    stop: &AtomicBool,
    answered: &AtomicU64,
    progress: &Progress,
) -> anyhow::Result<Books> {
    let mut books = Books::default();
    let mut pace = plan.pace.map(interval);
    loop {
        progress.sent.store(books.sent, Ordering::Relaxed);
        progress.answered.store(books.answered, Ordering::Relaxed);
        let stopping = stop.load(Ordering::Relaxed) || books.sent == plan.events;
        if stopping {
            client.goodbye();
        }
        let has_room = |books: &Books| !stopping && books.sent < plan.events && books.outstanding() < IN_FLIGHT;
        while pace.is_none() && has_room(&books) {
            send(&client, &mut books).await?;
        }
        let incoming = tokio::select! {
            incoming = client.recv() => incoming?,
            () = due(&mut pace), if has_room(&books) => {
                send(&client, &mut books).await?;
                continue;
            }
        };
        let Some(incoming) = incoming else { break };
        match incoming {
            Incoming::Answer(answer) => {
                let (seq, expected) = (answer.seq.get(), books.answered + books.lost + 1);
                match seq.cmp(&expected) {
                    std::cmp::Ordering::Equal => books.answered += 1,
                    std::cmp::Ordering::Less => books.duplicated += 1,
                    std::cmp::Ordering::Greater => {
                        books.reordered += 1;
                        books.answered += 1;
                    }
                }
                match &answer.outcome {
                    Outcome::Final(body) if body.payload == (seq * seq).to_string() => {}
                    _ => books.wrong += 1,
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Incoming::Gap(_) => books.gaps += 1,
            // The SDK recognised something that settles nothing: an answer came twice over the wire.
            Incoming::Extra(_) => books.duplicated += 1,
            _ => {}
        }
    }
    books.lost = books.outstanding();
    Ok(books)
}

async fn send(client: &Client, books: &mut Books) -> anyhow::Result<()> {
    let number = books.sent + 1;
    let seq = client.send(Event::new("sq", number.to_string())).await?;
    assert_eq!(seq.get(), number, "a fresh outbox counts from 1");
    books.sent = number;
    Ok(())
}

/// Waits for the next time to send, for ever without a pace.
async fn due(pace: &mut Option<Interval>) {
    match pace {
        Some(pace) => _ = pace.tick().await,
        None => std::future::pending().await,
    }
}
