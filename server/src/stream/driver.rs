//! Runs one session: feeds the pure machine with what happens and carries out what it asks for.
//!
//! One task per stream. Everything that is ready is taken in one round (frames, durable appends, notifications), then the
//! machine settles once: so a busy stream costs one append, one lock of the outgoing queue and one wake-up per round, not
//! per event.

use std::{pin::Pin, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use nimbus_core::{
    Failure, Origin, Partition, Reason, SessionId,
    ports::{
        log::{Appender, Appending, EventLog, LogError},
        mailbox::MailboxAck,
    },
    registry::{Mail, Registration},
    session::{Action, ClientFrame, Close, Dialect, Input, Now, ServerFrame, Session, Start},
};
use tokio::time::{Instant, Sleep};
use tonic::{Status, Streaming};

use super::{
    delivery_source::{Fetched, FetchedPage, fetch},
    entrance::unreadable,
    holding::Holding,
    opening::ReadySession,
    out::{OutHandle, Outgoing},
    wire::{Wire, WireFrame},
};
use crate::{
    metrics,
    share::{self, Share},
    shared::{CheckNo, Shared},
    status,
};

/// Frames taken in one round at most, so that the other branches get their turn.
const FRAMES_PER_ROUND: usize = 256;
/// Payload taken in one round at most, in bytes, so that one append stays moderate.
const BYTES_PER_ROUND: usize = 1024 * 1024;

/// How many actions a stream keeps room for between two rounds.
const KEEP_ACTIONS: usize = 8;

/// One running session.
pub(crate) struct Driver<W: Wire> {
    shared: Arc<Shared>,
    wire: W,
    inbound: Streaming<W::In>,
    out: OutHandle,
    id: SessionId,
    origin: Arc<Origin>,
    partition: Partition,
    registration: Registration,
    session: Session,
    /// Ends with its first failure: nothing lands behind a lost event.
    appender: Box<dyn Appender<nimbus_core::Event>>,
    appends: FuturesOrdered<Appending>,
    fetching: Option<BoxFuture<'static, Fetched>>,
    /// The newest check of the mailbox that had begun when the last read came back.
    read: CheckNo,
    reading: bool,
    actions: Vec<Action>,
    /// What this round says.
    frames: Outgoing,
    /// A delivery made no frame since the session was last told how full the queue is.
    unsaid: bool,
    holding: Holding,
    share: Share,
    /// The present of this round.
    now: Now,
    tally: Tally,
}

/// Counts of one round, added to the shared counters once: they are contended.
#[derive(Debug, Default)]
struct Tally {
    received: u64,
    /// What these count towards the client's share.
    weight: u64,
    delivered: u64,
    /// The session's accepted sequence number when it was last counted.
    accepted_seq: u64,
}

/// What woke the driver.
enum Event<T> {
    Frame(Option<Result<T, Status>>),
    Appended(Result<(), LogError>),
    Fetched(Fetched),
    Mail,
    Taken,
    Tick,
}

/// What the log could never take is refused for good, in its place in the log, before anything of it is appended (rule 3).
fn refuse_what_does_not_fit(log: &EventLog, events: &mut [nimbus_core::Event]) {
    for event in events {
        if let Err(too_large) = log.fits(event) {
            let reason = Reason::EventTooLarge;
            let message = format!("the event cannot be stored: {too_large}");
            let failure = Failure { code: reason.class().code(), reason: reason.as_str().to_owned(), message };
            *event = event.clone().refuse(failure);
        }
    }
}

impl<W: Wire> Driver<W> {
    /// Opens the session; when that fails, ends the stream. Boxed: a task keeps room for every copy that is handed on in it.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        wire: W,
        inbound: Streaming<W::In>,
        out: OutHandle,
        ready: ReadySession,
    ) -> Option<Box<Self>> {
        let ReadySession { id, origin, hello, opened, registration } = ready;
        let mut actions = Vec::new();
        let now = shared.now();
        let limits = shared.config.limits.clone();
        let start = Start { dialect: W::DIALECT, limits, id, origin: Arc::clone(&origin), hello: &hello, opened };
        let session = match Session::open(start, now, &mut actions) {
            Ok(session) => session,
            Err(close) => {
                tracing::info!(client = %origin.client, session = %id, reason = ?close.reason, "a session was refused");
                end(&shared, &out, &close);
                ReadySession::release(&origin, id, &shared).await;
                return None;
            }
        };
        let partition = shared.ports.events.partitions().partition_of(&origin.client);
        shared.metrics.sessions_open.inc();
        let tally = Tally { accepted_seq: session.accepted_seq(), ..Tally::default() };
        let appender = shared.ports.events.appender();
        let read = shared.bookmarks.latest();
        let mut driver = Box::new(Self {
            shared,
            wire,
            inbound,
            out,
            id,
            origin,
            partition,
            registration,
            session,
            appender,
            appends: FuturesOrdered::new(),
            fetching: None,
            read,
            reading: true,
            actions,
            frames: Outgoing::default(),
            unsaid: false,
            holding: Holding::default(),
            share: Share::new(now.instant),
            now,
            tally,
        });
        driver.act();
        if let Some(resume) = hello.resume.as_ref().filter(|resume| !resume.foreign_epoch) {
            // The mailbox may have forgotten that it was told, and have filled up again with what the client has.
            driver.ack(resume.position);
        }
        Some(driver)
    }

    /// Runs the session to its end.
    pub(crate) async fn run(mut self: Box<Self>) {
        let mut sleep: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep_until(far_future()));
        while !self.session.is_closed() {
            let deadline = self.session.deadline().into_iter().chain(self.share.held_until()).min();
            if let Some(deadline) = deadline
                && sleep.deadline() != deadline
            {
                sleep.as_mut().reset(deadline);
            }
            let wants_frames = self.reading && self.session.wants_frames() && self.share.held_until().is_none();
            let events = &self.shared.ports.events;
            let event = tokio::select! {
                biased;
                Some(outcome) = self.appends.next(), if !self.appends.is_empty() => Event::Appended(outcome.map(drop)),
                () = self.registration.inbox().arrived() => Event::Mail,
                () = self.out.taken() => Event::Taken,
                page = poll_fetch(&mut self.fetching), if self.fetching.is_some() => Event::Fetched(page),
                frame = next_frame(&mut self.inbound, events), if wants_frames => Event::Frame(frame),
                () = sleep.as_mut(), if deadline.is_some() => Event::Tick,
            };
            self.now = self.shared.now();
            if self.take(event) {
                self.shared.metrics.streams_broken.inc();
                break;
            }
            self.share.take(self.tally.weight, self.now.instant, &self.shared.shares);
            self.take_what_is_ready();
            self.session.settle(&mut self.actions);
            self.act();
            self.recount();
            self.holding.look(self.held_by(), self.now.instant, &self.shared.metrics);
        }
        // Boxed: it comes once, at the end, and the task would keep room for it until then.
        Box::pin(self.leave()).await;
    }

    /// What holds the client back just now, if anything.
    fn held_by(&self) -> Option<metrics::ReasonLabel> {
        self.session.held_by().map(metrics::held).or(self.share.held_until().map(|_| metrics::SHARE))
    }

    /// Feeds one event to the session; true when the stream is gone.
    fn take(&mut self, event: Event<W::In>) -> bool {
        match event {
            Event::Appended(outcome) => self.input(Input::Appended(outcome)),
            Event::Fetched(Ok(FetchedPage { records, through, complete })) => {
                self.look_at_queue();
                self.read = self.shared.bookmarks.latest();
                self.input(Input::Fetched { records, through, complete });
            }
            Event::Fetched(Err(close)) => self.input(Input::Fail(close)),
            Event::Frame(frame) => return self.frames(frame),
            Event::Mail => {}
            Event::Taken => return self.look_at_queue(),
            Event::Tick => {
                self.share.pass(self.now.instant);
                if self.session.deadline().is_none_or(|deadline| deadline > self.now.instant) {
                    return false;
                }
                // Read before the inbox is emptied: what the bookmark covers is in the inbox by then.
                let bookmark = self.shared.bookmarks.get(self.partition, self.read);
                self.mail();
                if self.shared.ports.events.ready().now_or_never().is_none() {
                    self.input(Input::NotReading);
                }
                self.input(Input::Bookmark(bookmark));
                if let Some(at) = self.wire.heard() {
                    self.input(Input::Heard(at));
                }
                self.input(Input::Tick);
            }
        }
        false
    }

    /// Takes a frame, and all that follow it without waiting; true when the stream is gone.
    fn frames(&mut self, first: Option<Result<W::In, Status>>) -> bool {
        let mut next = first;
        let mut bytes = 0;
        for taken in 1..=FRAMES_PER_ROUND {
            match next {
                Some(Ok(frame)) => bytes += self.frame(frame),
                Some(Err(status)) => return self.broken(&status),
                None => {
                    self.reading = false;
                    self.input(Input::HalfClosed);
                    return false;
                }
            }
            // Before the next frame is taken out of the stream: what is taken must be handled.
            if taken == FRAMES_PER_ROUND || bytes >= BYTES_PER_ROUND {
                self.shared.metrics.streams_held.get_or_create(&metrics::TURN).inc();
                break;
            }
            if !self.session.wants_frames() {
                break;
            }
            match self.inbound.next().now_or_never() {
                Some(ready) => next = ready,
                None => break,
            }
        }
        false
    }

    /// Takes one frame; returns the bytes of its payload.
    fn frame(&mut self, frame: W::In) -> usize {
        match self.wire.decode(frame, self.session.next_seq()) {
            WireFrame::Frame(frame) => {
                let bytes = match &frame {
                    ClientFrame::Event(event) => {
                        self.tally.received += 1;
                        self.tally.weight += share::weight(event.payload.len());
                        event.payload.len()
                    }
                    ClientFrame::Unknown => {
                        self.shared.metrics.unknown_frames.inc();
                        0
                    }
                    ClientFrame::Ack(_) | ClientFrame::Pong | ClientFrame::Goodbye => 0,
                };
                self.input(Input::Frame(frame));
                bytes
            }
            WireFrame::Violation(close) => {
                self.input(Input::Fail(close));
                0
            }
        }
    }

    /// The incoming side failed: a frame that cannot be read, or (true) a transport that is gone.
    fn broken(&mut self, status: &Status) -> bool {
        self.reading = false;
        match unreadable(status) {
            Some(close) => self.input(Input::Fail(close)),
            None => return true,
        }
        false
    }

    fn take_what_is_ready(&mut self) {
        while !self.appends.is_empty() {
            match self.appends.next().now_or_never() {
                Some(Some(outcome)) => self.input(Input::Appended(outcome.map(drop))),
                Some(None) | None => break,
            }
        }
        self.mail();
    }

    fn mail(&mut self) {
        let Some(Mail { results, missed, superseded, draining }) = self.registration.inbox().take() else { return };
        if !results.is_empty() {
            self.look_at_queue();
        }
        if let Some(reach) = missed {
            self.input(Input::Missed(reach));
        }
        for batch in results {
            self.input(Input::Notified(batch));
        }
        if draining {
            self.input(Input::Drain);
        }
        if superseded {
            self.input(Input::Superseded);
        }
    }

    fn input(&mut self, input: Input) {
        let mut rate = self.shared.rate.of(&self.origin.client);
        self.session.handle(input, &mut rate, self.now, &mut self.actions);
    }

    /// Tells the session what became of the outgoing queue; true when the stream is gone.
    fn look_at_queue(&mut self) -> bool {
        let progress = self.out.progress();
        self.session.set_queue(progress.queue);
        if W::DIALECT == Dialect::Original {
            self.input(Input::HandedOver(progress.handed_over));
        }
        progress.gone
    }

    /// Carries out what the session asked for.
    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(frame) => self.send(frame),
                Action::Append(mut events) => {
                    refuse_what_does_not_fit(&*self.shared.ports.events, &mut events);
                    self.appends.push_back(self.appender.append(self.partition, events));
                }
                Action::Fetch(request) => {
                    self.fetching = Some(fetch(Arc::clone(&self.shared), Arc::clone(&self.origin), request));
                }
                Action::Ack(position) => self.ack(position),
                Action::Close(close) => {
                    self.out.push(&mut self.frames);
                    tracing::debug!(client = %self.origin.client, session = %self.id, ?close, "a session ends");
                    end(&self.shared, &self.out, &close);
                }
            }
        }
        // The same buffer for every round, unless a burst made it large: an idle stream keeps little.
        actions.shrink_to(KEEP_ACTIONS);
        self.actions = actions;
        self.out.push(&mut self.frames);
        self.count();
    }

    /// Deliveries for which the protocol has nothing to say (parts, in the original one) were counted and not queued: nothing
    /// will be taken that could tell the session of the room it has.
    fn recount(&mut self) {
        while std::mem::take(&mut self.unsaid) && !self.session.is_closed() {
            self.look_at_queue();
            self.session.settle(&mut self.actions);
            self.act();
        }
    }

    fn count(&mut self) {
        let metrics = &self.shared.metrics;
        let accepted_seq = self.session.accepted_seq();
        metrics.events_accepted.inc_by(accepted_seq - self.tally.accepted_seq);
        metrics.events_received.inc_by(self.tally.received);
        metrics.deliveries.inc_by(self.tally.delivered);
        self.tally = Tally { accepted_seq, ..Tally::default() };
    }

    fn send(&mut self, frame: ServerFrame) {
        let metrics = &self.shared.metrics;
        match &frame {
            ServerFrame::Delivery(_) => {
                let before = self.frames.len();
                self.wire.encode(frame, &mut self.frames);
                let made = self.frames.len() - before;
                self.tally.delivered += made as u64;
                self.unsaid |= made == 0;
                return;
            }
            ServerFrame::Rejected(rejected) => {
                metrics.events_rejected.get_or_create(&metrics::reason(Some(rejected.reason))).inc();
                if rejected.reason == Reason::StorageFull {
                    // The client goes back to the first event that was lost; what it sends again needs a way in. Not at each
                    // failure: those of later appends come through the same fence and must leave the new one alone.
                    self.appender = self.shared.ports.events.appender();
                }
            }
            ServerFrame::Welcome(welcome) => {
                if matches!(welcome.outcome, nimbus_core::session::ResumeOutcome::Gap { .. }) {
                    metrics.gaps.inc();
                }
            }
            ServerFrame::Accepted(_) | ServerFrame::Ping(_) | ServerFrame::GoAway(_) => {}
        }
        self.wire.encode(frame, &mut self.frames);
    }

    fn ack(&self, position: nimbus_core::Position) {
        let ack = MailboxAck { client: self.origin.client.clone(), session: self.id, position };
        self.shared.acks.note(ack);
    }

    /// After the session: wait for what is still out, then give the client up.
    async fn leave(mut self: Box<Self>) {
        // Appends go on whether or not anyone waits for them; what they would tell has no listener any more.
        self.appends.clear();
        if W::DIALECT == Dialect::Original {
            self.await_clean_end().await;
        }
        self.shared.metrics.sessions_open.dec();
        self.shared.acks.flush_client(&self.shared, &self.origin.client).await;
        ReadySession::release(&self.origin, self.id, &self.shared).await;
    }

    /// Original protocol: everything counts as delivered once the transport has taken the clean end of the stream.
    async fn await_clean_end(&mut self) {
        if !self.session.is_closed() || !self.session.completed() {
            return;
        }
        loop {
            let progress = self.out.progress();
            if progress.ended {
                self.session.ended_cleanly(&mut self.actions);
                self.act();
                return;
            }
            if progress.gone {
                return;
            }
            self.out.taken().await;
        }
    }
}

/// Ends the stream as the session said.
pub(super) fn end(shared: &Shared, out: &OutHandle, close: &Close) {
    shared.metrics.streams_ended.get_or_create(&metrics::reason(close.reason)).inc();
    let unresponsive = close.reason == Some(Reason::ClientUnresponsive);
    out.end(status::status(close).map_or(Ok(()), Err), unresponsive);
}

async fn next_frame<T>(inbound: &mut Streaming<T>, events: &Arc<EventLog>) -> Option<Result<T, Status>> {
    events.ready().await;
    inbound.next().await
}

/// Waits for the read that is out, and forgets it once it is there.
async fn poll_fetch(fetching: &mut Option<BoxFuture<'static, Fetched>>) -> Fetched {
    let Some(page) = fetching else { return std::future::pending().await };
    let fetched = page.await;
    *fetching = None;
    fetched
}

/// For a timer that is not in use.
fn far_future() -> Instant {
    Instant::now() + std::time::Duration::from_secs(365 * 24 * 3600)
}
