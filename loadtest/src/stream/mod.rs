//! One stream of the load: keeps its window full or its turns, judges every answer.

pub(crate) mod dialect;
pub(crate) mod feed;
pub(crate) mod schedule;
pub(crate) mod tracker;
pub(crate) mod turns;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use self::{
    dialect::{Dialect, Heard},
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
    tracker: Tracker,
    tally: Tally,
    unacked: u32,
    position: u64,
    /// When the last answer or refusal came.
    heard_at: Instant,
    /// Send again from this event at that time.
    resend: Option<(Instant, u64)>,
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
            tally: Tally::default(),
            unacked: 0,
            position: 0,
            heard_at: Instant::now(),
            resend: None,
        }
    }

    /// Opens the stream where the protocol has an opening. The original one begins with its first event.
    pub(crate) async fn open(&mut self) -> Result<(), Status> {
        if !D::OPENS {
            return Ok(());
        }
        let mut stream = self.call().await?;
        let opening = tokio::time::timeout(self.common.drain_timeout, stream.message()).await;
        let first = opening.map_err(|_| Status::deadline_exceeded("no welcome in time"))??;
        match first.map(|message| self.dialect.hear(message, 0)) {
            Some(Heard::Open { receive_window, max_in_flight }) => {
                self.receive_window = receive_window;
                self.max_in_flight = max_in_flight;
            }
            _ => return Err(Status::internal("the session did not begin with a welcome")),
        }
        self.stream = Some(stream);
        Ok(())
    }

    async fn call(&self) -> Result<Streaming<D::Down>, Status> {
        let caller = Caller { client_id: &self.client_id, token: self.common.token.as_deref() };
        let requests = Requests::new(Arc::clone(&self.feed), Arc::clone(&self.dialect));
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
        loop {
            if self.common.stop.is_cancelled() && !stopped {
                stopped = true;
                self.stop();
            }
            if self.feed.everything_sent() && self.tracker.low() > self.feed.sent() {
                return self.leave(stream).await;
            }
            let resend_at = self.resend.map(|(at, _)| at);
            let give_up_at = self.waits_since() + self.common.drain_timeout;
            tokio::select! {
                ended = next(&mut stream, &mut batch) => {
                    self.judge(&mut batch);
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
                () = self.common.stop.cancelled(), if !stopped => {}
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
            shard.latency(now - turn);
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
                let ended = next(&mut stream, &mut batch).await;
                self.judge(&mut batch);
                if let Some(ended) = ended {
                    return ended.map_err(|status| describe(&status));
                }
            }
        };
        let ended = tokio::time::timeout(timeout, ending).await;
        ended.unwrap_or_else(|_| Err("the server did not end the stream after the half-close".to_owned()))
    }

    /// Judges a batch of messages and lets as many events follow.
    fn judge(&mut self, batch: &mut Vec<D::Down>) {
        if batch.is_empty() {
            return;
        }
        let now = self.feed.now();
        let measure_from = self.common.measure_from.load(Ordering::Relaxed);
        let measure_until = self.common.measure_until.load(Ordering::Relaxed);
        let in_time = now >= measure_from && now < measure_until;
        let sent = self.feed.sent();
        let mut counts = Counts::default();
        let mut wakes = false;
        let allowed_before = self.allowed();
        let mut shard = self.common.meter.shard(self.number);
        for message in batch.drain(..) {
            match self.dialect.hear(message, self.tracker.low()) {
                Heard::Answer { seq, right, failed, position } => {
                    self.position = self.position.max(position);
                    self.unacked += 1;
                    let Verdict::First { in_order } = self.tracker.answer(seq, sent) else {
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
                    if sent_at >= measure_from && sent_at < measure_until && (in_time || self.common.open_loop) {
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
                Heard::Open { .. } | Heard::Other => {}
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
            self.feed.allow(self.allowed());
            wakes = true;
        }
        if wakes {
            self.feed.wake();
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Gathers what is there, at least one message. `Some` when the stream has ended. Cancel safe.
async fn next<M>(stream: &mut Streaming<M>, batch: &mut Vec<M>) -> Option<Result<(), Status>> {
    let mut more = stream.message().await;
    loop {
        match more {
            Ok(Some(message)) => batch.push(message),
            Ok(None) => return Some(Ok(())),
            Err(status) => return Some(Err(status)),
        }
        if batch.len() >= BATCH {
            return None;
        }
        match stream.message().now_or_never() {
            Some(next) => more = next,
            None => return None,
        }
    }
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
