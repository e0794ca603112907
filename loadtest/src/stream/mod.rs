//! One stream of the load: keeps its window full or its turns, judges every answer.

mod churn;
pub(crate) mod dialect;
pub(crate) mod feed;
pub(crate) mod schedule;
pub(crate) mod tracker;
pub(crate) mod turns;

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use self::{
    dialect::{Dialect, Heard, Opened},
    feed::{Feed, Requests},
    tracker::{Tracker, Verdict},
    turns::Turns,
};
use crate::{
    meter::{Counts, Meter},
    tally::Tally,
    transport::{self, Caller},
};

/// Most answers that are judged in one go.
const BATCH: usize = 512;

/// What all streams of a load share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) window: usize,
    pub(crate) to: Endpoint,
    /// Each stream has a connection of its own, and a new one with each session.
    pub(crate) own_connections: bool,
    pub(crate) think: Duration,
    /// The first of the streams read slowly.
    pub(crate) slow_readers: usize,
    pub(crate) slow_pause: Duration,
    /// For each stream: whether it is to open its session anew. None without churn.
    pub(crate) reconnects: Box<[Notify]>,
    pub(crate) token: Option<String>,
    pub(crate) drain_timeout: Duration,
    /// Sending ends.
    pub(crate) stop: CancellationToken,
    /// Events leave at their turns and not when answers come.
    pub(crate) open_loop: bool,
    pub(crate) base: std::time::Instant,
    /// When that was, since 1970 UTC. One look at the wall clock for the whole load, which may be set meanwhile.
    pub(crate) base_since_1970: Duration,
    /// From when on answers count, in nanoseconds since `base`; `u64::MAX` until the load begins.
    pub(crate) measure_from: AtomicU64,
    /// Until when.
    pub(crate) measure_until: AtomicU64,
    pub(crate) meter: Meter,
    pub(crate) broken: AtomicU64,
}

impl Common {
    /// What of this time is measured: when it begins, and how long it is. Nothing if none of it is.
    pub(crate) fn measured_within(&self, from: Duration, until: Duration) -> Option<(Duration, Duration)> {
        let at = |moment: &AtomicU64| Duration::from_nanos(moment.load(Ordering::Relaxed));
        let (from, until) = (from.max(at(&self.measure_from)), until.min(at(&self.measure_until)));
        until.checked_sub(from).filter(|time| !time.is_zero()).map(|time| (from, time))
    }
}

/// One stream, before it runs.
#[derive(Debug)]
pub(crate) struct Lane<D: Dialect> {
    common: Arc<Common>,
    number: usize,
    dialect: Arc<D>,
    feed: Arc<Feed>,
    channel: Channel,
    client_id: String,
    stream: Option<Streaming<D::Down>>,
    receive_window: u32,
    /// How many events the server takes beyond those that it has accepted, and the last of these.
    max_in_flight: u64,
    accepted: u64,
    resume_token: Bytes,
    /// Resolves when the request stream is gone.
    requests_gone: Option<oneshot::Receiver<Infallible>>,
    tracker: Tracker,
    tally: Tally,
    unacked: u32,
    position: u64,
    /// When the last answer or refusal came.
    heard_at: Instant,
    /// Send again from this event at that time.
    resend: Option<(Instant, u64)>,
    /// Until when to think before events up to this one may be sent.
    thoughts: VecDeque<(Instant, u64)>,
    /// A slow reader reads on at that time.
    read_at: Option<Instant>,
}

impl<D: Dialect> Lane<D> {
    /// The stream with this number, whose last event this is.
    pub(crate) fn new(
        common: Arc<Common>,
        (number, last): (usize, u64),
        dialect: D,
        channel: Channel,
        client_id: String,
    ) -> Self {
        let feed = Arc::new(Feed::new(common.window, last, common.base));
        Self {
            tracker: Tracker::new(common.window),
            common,
            number,
            dialect: Arc::new(dialect),
            feed,
            channel,
            client_id,
            stream: None,
            receive_window: 0,
            max_in_flight: u64::MAX,
            accepted: 0,
            resume_token: Bytes::new(),
            requests_gone: None,
            tally: Tally::default(),
            unacked: 0,
            position: 0,
            heard_at: Instant::now(),
            resend: None,
            thoughts: VecDeque::new(),
            read_at: None,
        }
    }

    /// Opens the stream where the protocol has an opening. The original one begins with its first event.
    pub(crate) async fn open(&mut self) -> Result<(), Status> {
        if !D::OPENS {
            return Ok(());
        }
        let timeout = self.common.drain_timeout;
        let opening = async {
            let mut stream = self.call().await?;
            let first = stream.message().await?;
            Ok::<_, Status>((stream, first))
        };
        let opening = tokio::time::timeout(timeout, opening).await;
        let (stream, first) = opening.map_err(|_| Status::deadline_exceeded("no welcome in time"))??;
        match first.map(|message| self.dialect.hear(message, 0)) {
            Some(Heard::Open(opened)) => self.opened(opened),
            _ => return Err(Status::internal("the session did not begin with a welcome")),
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn opened(&mut self, opened: Opened) {
        self.receive_window = opened.receive_window;
        self.max_in_flight = opened.max_in_flight;
        self.accepted = self.accepted.max(opened.accepted.min(self.feed.sent()));
        self.position = self.position.max(opened.position);
        self.unacked = 0;
        self.resume_token = opened.token;
        if opened.has_gap {
            self.tally.error("a session was resumed with a gap: answers may be missing".to_owned());
        }
    }

    async fn call(&mut self) -> Result<Streaming<D::Down>, Status> {
        let next = self.tracker.low();
        let (requests, gone) = Requests::new(Arc::clone(&self.feed), Arc::clone(&self.dialect), next);
        self.requests_gone = Some(gone);
        let caller = Caller { client_id: &self.client_id, token: self.common.token.as_deref() };
        transport::open(self.channel.clone(), D::PATH, caller, requests).await
    }

    /// Makes it an open loop. Turns from `counts_from` on are counted.
    pub(crate) fn take_turns(&self, turns: Turns, counts_from: u64) {
        self.feed.begin(turns, counts_from);
    }

    /// What the pacer wakes.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.feed)
    }

    /// The last event that may be sent: the window, and what the server takes.
    fn allowed(&self) -> u64 {
        self.tracker.allowed().min(self.accepted.max(self.tracker.low() - 1).saturating_add(self.max_in_flight))
    }

    /// Runs until everything is answered after the end of sending, or the stream breaks.
    pub(crate) async fn run(mut self) -> Tally {
        self.heard_at = Instant::now();
        self.feed.allow(self.allowed());
        self.feed.wake();
        if let Err(error) = self.exchange().await {
            self.common.broken.fetch_add(1, Ordering::Relaxed);
            self.tally.error(error);
        }
        self.tally.sent = self.feed.sent();
        self.tally.lost = self.tracker.outstanding(self.tally.sent);
        self.tally.lateness = self.feed.lateness();
        self.tally
    }

    async fn exchange(&mut self) -> Result<(), String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.call().await.map_err(|status| describe(&status))?,
        };
        let mut batch = Vec::with_capacity(BATCH.min(self.common.window));
        let mut stopped = false;
        let common = Arc::clone(&self.common);
        loop {
            if self.common.stop.is_cancelled() && !stopped {
                stopped = true;
                self.stop();
            }
            if self.feed.everything_sent() && self.tracker.low() > self.feed.sent() {
                return self.leave(stream).await;
            }
            if self.feed.is_at_rest() && self.tracker.low() > self.feed.sent() {
                stream = self.reconnect(stream).await.map_err(|why| format!("reconnect: {why}"))?;
                continue;
            }
            let resend_at = self.resend.map(|(at, _)| at);
            let give_up_at = self.waits_since() + self.common.drain_timeout;
            tokio::select! {
                ended = next(&mut stream, &mut batch, self.batch()), if self.read_at.is_none() => {
                    let is_answered = self.judge(&mut batch);
                    self.read_at = (is_answered && self.is_slow() && !stopped).then(|| Instant::now() + common.slow_pause);
                    match ended {
                        Some(Ok(())) => return Err("the server ended the stream".to_owned()),
                        Some(Err(status)) => return Err(describe(&status)),
                        None => {}
                    }
                }
                () = at(resend_at) => {
                    if let Some((_, seq)) = self.resend.take() {
                        self.feed.rewind(seq);
                        self.feed.wake();
                    }
                }
                () = at(self.read_at) => self.read_at = None,
                () = at(self.thoughts.front().map(|(at, _)| *at)) => self.go_on(),
                () = knock(&common.reconnects, self.number), if !stopped && !self.feed.pauses() => self.feed.pause(),
                () = common.stop.cancelled(), if !stopped => self.read_at = None,
                () = tokio::time::sleep_until(give_up_at) => {
                    if self.tracker.low() > self.feed.sent() {
                        self.heard_at = Instant::now();
                    } else if self.waits_since() + self.common.drain_timeout <= Instant::now() {
                        return Err("no answer for too long".to_owned());
                    }
                }
            }
        }
    }

    fn is_slow(&self) -> bool {
        self.number < self.common.slow_readers
    }

    /// How many answers are read in one go.
    fn batch(&self) -> usize {
        if self.is_slow() { 1 } else { BATCH }
    }

    /// What was to be thought about has been.
    fn go_on(&mut self) {
        let now = Instant::now();
        while let Some((at, allowed)) = self.thoughts.front().copied()
            && at <= now
        {
            self.thoughts.pop_front();
            self.feed.allow(allowed);
        }
        self.feed.wake();
    }

    /// Since when the next answer has been waited for. If nothing is outstanding, this is too early and looked at again.
    fn waits_since(&self) -> Instant {
        let low = self.tracker.low();
        if low > self.feed.sent() {
            return self.heard_at;
        }
        let sent_at = self.common.base + Duration::from_nanos(self.feed.sent_at(low));
        self.heard_at.max(sent_at.into())
    }

    /// Ends the sending. An event of an open loop that is not sent counts with the wait that it has had.
    fn stop(&mut self) {
        let now = self.feed.now();
        let unsent = self.feed.stop(now.min(self.common.measure_until.load(Ordering::Relaxed)));
        let measure_from = self.common.measure_from.load(Ordering::Relaxed);
        let mut shard = self.common.meter.shard(self.number);
        for turn in unsent.into_iter().flatten().filter(|turn| *turn >= measure_from) {
            self.tally.unsent += 1;
            if !self.is_slow() {
                shard.latency(now - turn);
            }
        }
        drop(shard);
        self.feed.wake();
    }

    /// Closes the sending side; the server must end the stream with OK, and send nothing that was answered before.
    async fn leave(&mut self, mut stream: Streaming<D::Down>) -> Result<(), String> {
        let timeout = self.common.drain_timeout;
        self.feed.end();
        self.feed.wake();
        let mut batch = Vec::new();
        let ending = async {
            loop {
                let ended = next(&mut stream, &mut batch, BATCH).await;
                self.judge(&mut batch);
                if let Some(ended) = ended {
                    return ended.map_err(|status| describe(&status));
                }
            }
        };
        let ended = tokio::time::timeout(timeout, ending).await;
        ended.unwrap_or_else(|_| Err("the server did not end the stream after the half-close".to_owned()))
    }

    /// Judges a batch of messages and lets as many events follow. Returns whether an event was answered.
    fn judge(&mut self, batch: &mut Vec<D::Down>) -> bool {
        if batch.is_empty() {
            return false;
        }
        let now = self.feed.now();
        let measure_from = self.common.measure_from.load(Ordering::Relaxed);
        let measure_until = self.common.measure_until.load(Ordering::Relaxed);
        let in_time = now >= measure_from && now < measure_until;
        let sent = self.feed.sent();
        let mut counts = Counts::default();
        let mut wakes = false;
        let allowed_before = self.allowed();
        let is_slow = self.is_slow();
        let mut shard = self.common.meter.shard(self.number);
        for message in batch.drain(..) {
            match self.dialect.hear(message, self.tracker.low()) {
                Heard::Answer { seq, right, failed, ordered, position } => {
                    self.position = self.position.max(position);
                    self.unacked += 1;
                    let Verdict::First { in_order } = self.tracker.answer(seq, sent, ordered) else {
                        let known = seq > 0 && seq <= sent;
                        counts.duplicates += u64::from(known);
                        counts.wrong += u64::from(!known);
                        continue;
                    };
                    counts.answered += 1;
                    counts.out_of_order += u64::from(!in_order);
                    counts.failed += u64::from(failed);
                    counts.wrong += u64::from(!right && !failed);
                    counts.measured += u64::from(in_time);
                    let sent_at = self.feed.sent_at(seq);
                    // In an open loop an answer after the end counts: the slowest would be missing otherwise.
                    let is_measured = sent_at >= measure_from && sent_at < measure_until && !is_slow;
                    if is_measured && (in_time || self.common.open_loop) {
                        shard.latency(now.saturating_sub(sent_at));
                    }
                }
                Heard::Accepted { seq } => self.accepted = self.accepted.max(seq.min(sent)),
                Heard::Rejected { seq, after } => {
                    counts.rejected += 1;
                    self.heard_at = Instant::now() + after;
                    self.resend = Some((self.heard_at, seq));
                }
                Heard::Ping => {
                    self.feed.pong();
                    wakes = true;
                }
                Heard::Open(_) | Heard::Other => {}
            }
        }
        shard.counts += counts;
        drop(shard);
        if self.unacked * 4 >= self.receive_window.max(4) && self.position > 0 {
            self.unacked = 0;
            self.feed.ack(self.position);
            wakes = true;
        }
        if counts.answered > 0 {
            self.heard_at = Instant::now();
        }
        if self.allowed() > allowed_before {
            if self.common.think.is_zero() {
                self.feed.allow(self.allowed());
                wakes = true;
            } else {
                self.thoughts.push_back((Instant::now() + self.common.think, self.allowed()));
            }
        }
        if wakes {
            self.feed.wake();
        }
        counts.answered > 0
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until this stream is to open its session anew.
async fn knock(reconnects: &[Notify], number: usize) {
    match reconnects.get(number) {
        Some(reconnect) => reconnect.notified().await,
        None => std::future::pending().await,
    }
}

/// Gathers what is there, at least one message. `Some` when the stream has ended. Cancel safe.
async fn next<M>(stream: &mut Streaming<M>, batch: &mut Vec<M>, most: usize) -> Option<Result<(), Status>> {
    let mut more = stream.message().await;
    loop {
        match more {
            Ok(Some(message)) => batch.push(message),
            Ok(None) => return Some(Ok(())),
            Err(status) => return Some(Err(status)),
        }
        if batch.len() >= most {
            return None;
        }
        match stream.message().now_or_never() {
            Some(next) => more = next,
            None => return None,
        }
    }
}

pub(crate) fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
