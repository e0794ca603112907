//! Clients of the SDK that send at a fixed rate whatever comes back, and keep the books of it.
//!
//! The load is open: an event is due at its time, also when the ones before it still wait, and its latency counts from then. Where
//! the outbox is full (nothing was accepted for a long time) sending waits, and the event that waits is the oldest outstanding.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use nimbus_client::{Client, Event, Incoming, Outbox, Outcome};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::{Books, Ledger},
    meter::{Latency, Meter, Now, Sample, TICK, Violation},
    payload::{Author, Verdict},
};

/// What a load is made of.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// What the client ids begin with; also what their events say.
    pub(crate) run: String,
    pub(crate) clients: usize,
    /// Events a second, of all clients together.
    pub(crate) rate: f64,
    /// Of each event.
    pub(crate) payload_bytes: usize,
}

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    stations: Vec<Arc<Station>>,
    meter: Arc<Meter>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    looking: JoinHandle<()>,
    now: watch::Receiver<Now>,
}

/// What a load leaves.
#[derive(Debug)]
pub(crate) struct Outcomes {
    pub(crate) books: Books,
    /// Events that were still on their way when a run was cut short: not lost.
    pub(crate) outstanding: u64,
    pub(crate) violations: Vec<Violation>,
    pub(crate) timeline: Vec<Sample>,
}

/// One client and its books.
#[derive(Debug)]
struct Station {
    author: Author,
    ledger: Mutex<Ledger>,
}

impl Station {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Starts the clients; they begin to send at once, and connect by themselves.
    pub(crate) async fn start(url: &str, shape: &Shape) -> anyhow::Result<Self> {
        let origin = Instant::now();
        let (meter, stop, mut tasks) = (Arc::new(Meter::new(origin)), CancellationToken::new(), JoinSet::new());
        let pace = Duration::from_secs_f64(shape.clients as f64 / shape.rate);
        let mut stations = Vec::new();
        for number in 0..shape.clients {
            let id = format!("{}-{number}", shape.run);
            let client = Client::builder(url).client_id(&id).outbox(Outbox::memory()).start().await?;
            let author = Author { run: shape.run.clone(), client: id, bytes: shape.payload_bytes };
            let station = Arc::new(Station { author, ledger: Mutex::default() });
            // Spread over one pace, so that they do not all send at once.
            let first = origin + pace.mul_f64(number as f64 / shape.clients as f64);
            let sending = send(client.clone(), Arc::clone(&station), Arc::clone(&meter), first, pace, stop.clone());
            tasks.spawn(sending);
            tasks.spawn(receive(client, Arc::clone(&station), Arc::clone(&meter)));
            stations.push(station);
        }
        let (now_tx, now) = watch::channel(meter.look(0, None, Books::default()));
        let looking = tokio::spawn(look(stations.clone(), Arc::clone(&meter), now_tx));
        Ok(Self { stations, meter, stop, tasks, looking, now })
    }

    pub(crate) fn now(&self) -> Now {
        *self.now.borrow()
    }

    pub(crate) fn since_origin(&self, at: Instant) -> f64 {
        self.meter.since_origin(at)
    }

    /// What was measured since the mark before.
    pub(crate) fn mark(&self) -> Option<Latency> {
        self.meter.mark()
    }

    /// Waits for a look at which it is so. Bound it with a timeout.
    pub(crate) async fn until(&self, is_so: impl Fn(&Now) -> bool) -> anyhow::Result<Now> {
        let mut now = self.now.clone();
        let reached = now.wait_for(|now| is_so(now)).await.context("nobody looks at the load any more")?;
        Ok(*reached)
    }

    /// Stops sending, waits for what is outstanding, at most for `limit`, and closes the books. What has no answer by then is
    /// lost, unless the run was cut short.
    pub(crate) async fn finish(mut self, limit: Duration, is_cut_short: bool) -> Outcomes {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // What this tells is in the books.
        timeout(limit, all).await.ok();
        self.looking.abort();
        let (mut books, mut outstanding) = (Books::default(), 0);
        for station in &self.stations {
            let ledger = station.ledger();
            outstanding += ledger.outstanding() as u64;
            if is_cut_short {
                books += ledger.books();
                continue;
            }
            books += ledger.close();
            for seq in ledger.open() {
                self.meter.violation(&station.author.client, Some(seq), "it was never answered".to_owned());
            }
        }
        let outstanding = if is_cut_short { outstanding } else { 0 };
        Outcomes { books, outstanding, violations: self.meter.violations(), timeline: self.meter.timeline() }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn send(
    client: Client,
    station: Arc<Station>,
    meter: Arc<Meter>,
    first: Instant,
    pace: Duration,
    stop: CancellationToken,
) {
    let mut due = first;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep_until(due) => {}
        }
        let seq = station.ledger().send(due);
        meter.sent();
        let event = Event::new("echo", station.author.payload(seq));
        match client.send(event).await {
            Ok(given) if given.get() == seq => {}
            Ok(given) => {
                let what = format!("the client numbered it {given}");
                meter.violation(&station.author.client, Some(seq), what);
                station.ledger().stray();
            }
            // The receiving side tells why.
            Err(_) => return,
        }
        due += pace;
    }
    client.goodbye();
}

async fn receive(client: Client, station: Arc<Station>, meter: Arc<Meter>) {
    let name = &station.author.client;
    loop {
        let incoming = match client.recv().await {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return,
            Err(error) => {
                station.ledger().ended();
                return meter.violation(name, None, format!("the client ended: {error}"));
            }
        };
        match incoming {
            Incoming::Answer(answer) => {
                let seq = answer.seq.get();
                let verdict = match &answer.outcome {
                    Outcome::Final(body) => station.author.judge(seq, &body.payload),
                    Outcome::Error(failure) => Verdict::Wrong(format!("an error, {failure}")),
                    Outcome::Unknown => Verdict::Wrong("that the outcome is unknown".to_owned()),
                };
                let entry = station.ledger().answer(seq, verdict);
                if let Some(intended) = entry.intended {
                    meter.answered(intended);
                }
                for what in entry.violations {
                    meter.violation(name, Some(seq), what);
                }
            }
            Incoming::Gap(gap) => {
                station.ledger().gap();
                meter.violation(name, None, format!("a gap from {} to {}", gap.from, gap.to));
            }
            other => {
                station.ledger().stray();
                meter.violation(name, None, format!("it got {other:?}"));
            }
        }
    }
}

async fn look(stations: Vec<Arc<Station>>, meter: Arc<Meter>, now_tx: watch::Sender<Now>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (mut outstanding, mut oldest, mut books) = (0, None::<Instant>, Books::default());
        for station in &stations {
            let ledger = station.ledger();
            outstanding += ledger.outstanding() as u64;
            books += ledger.books();
            oldest = [oldest, ledger.oldest()].into_iter().flatten().min();
        }
        now_tx.send_replace(meter.look(outstanding, oldest, books));
    }
}
