//! Clients of the SDK that send at a fixed rate whatever comes back, and keep the books of it.
//!
//! The load is open: an event is due at its time, also when the ones before it still wait, and its latency counts from then. Where
//! the outbox is full (nothing was accepted for a long time) sending waits, and the event that waits is the oldest outstanding.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use nimbus_client::{Client, Departures, Event, Incoming, Outbox, Outcome, Seq};
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
pub(crate) struct Station {
    pub(crate) client: Client,
    author: Author,
    ledger: Mutex<Ledger>,
}

impl Station {
    pub(crate) fn new(client: Client, author: Author) -> Arc<Self> {
        Arc::new(Self { client, author, ledger: Mutex::default() })
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the event that should have been sent at `due`.
    ///
    /// # Errors
    /// The client has ended; whoever receives is told why.
    pub(crate) async fn send(&self, due: Instant, meter: &Meter) -> Result<Seq, nimbus_client::Error> {
        let seq = self.ledger().send(due);
        meter.sent();
        let given = self.client.send(Event::new("echo", self.author.payload(seq))).await?;
        if given.get() != seq {
            meter.violation(&self.author.client, Some(seq), format!("the client numbered it {given}"));
            self.ledger().stray();
        }
        Ok(given)
    }

    /// Enters what came into the books.
    pub(crate) fn take(&self, incoming: Incoming, meter: &Meter) {
        let name = &self.author.client;
        match incoming {
            Incoming::Answer(answer) => {
                let seq = answer.seq.get();
                let verdict = match &answer.outcome {
                    Outcome::Final(body) => self.author.judge(seq, &body.payload),
                    Outcome::Error(failure) => Verdict::Wrong(format!("an error, {failure}")),
                    Outcome::Unknown => Verdict::Wrong("that the outcome is unknown".to_owned()),
                };
                let entry = self.ledger().answer(seq, verdict);
                if let Some(intended) = entry.intended {
                    meter.answered(intended);
                }
                for what in entry.violations {
                    meter.violation(name, Some(seq), what);
                }
            }
            Incoming::Gap(gap) => {
                self.ledger().gap();
                meter.violation(name, None, format!("a gap from {} to {}", gap.from, gap.to));
            }
            other => {
                self.ledger().stray();
                meter.violation(name, None, format!("it got {other:?}"));
            }
        }
    }

    /// The client ended although nobody had told it to.
    pub(crate) fn ended(&self, error: &nimbus_client::Error, meter: &Meter) {
        self.ledger().ended();
        meter.violation(&self.author.client, None, format!("the client ended: {error}"));
    }

    /// Closes the books: what has no answer by now is lost.
    pub(crate) fn close(&self, meter: &Meter) -> Books {
        let ledger = self.ledger();
        for seq in ledger.open() {
            meter.violation(&self.author.client, Some(seq), "it was never answered".to_owned());
        }
        ledger.close()
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
            let station = Station::new(client, author);
            // Spread over one pace, so that they do not all send at once.
            let first = origin + pace.mul_f64(number as f64 / shape.clients as f64);
            tasks.spawn(send(Arc::clone(&station), Arc::clone(&meter), first, pace, stop.clone()));
            tasks.spawn(receive(Arc::clone(&station), Arc::clone(&meter)));
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

    /// What was measured since the lap before, see [`Meter::lap`].
    pub(crate) fn lap(&self) -> Option<Latency> {
        self.meter.lap()
    }

    /// How sessions of all clients ended so far.
    pub(crate) fn departures(&self) -> Departures {
        let each = self.stations.iter().map(|station| station.client.departures());
        each.fold(Departures::default(), |sum, one| Departures {
            asked: sum.asked + one.asked,
            lost: sum.lost + one.lost,
        })
    }

    /// Waits until everything has its answer that was due before `at`. Bound it with a timeout.
    pub(crate) async fn answered_until(&self, at: Instant) -> anyhow::Result<()> {
        self.until(|now| now.at > at && now.oldest.is_none_or(|oldest| oldest > at)).await.map(|_| ())
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
            outstanding += station.ledger().outstanding() as u64;
            books += if is_cut_short { station.ledger().books() } else { station.close(&self.meter) };
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

async fn send(station: Arc<Station>, meter: Arc<Meter>, first: Instant, pace: Duration, stop: CancellationToken) {
    let mut due = first;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep_until(due) => {}
        }
        // The receiving side tells why.
        if station.send(due, &meter).await.is_err() {
            return;
        }
        due += pace;
    }
    station.client.goodbye();
}

async fn receive(station: Arc<Station>, meter: Arc<Meter>) {
    loop {
        match station.client.recv().await {
            Ok(Some(incoming)) => station.take(incoming, &meter),
            Ok(None) => return,
            Err(error) => return station.ended(&error, &meter),
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
