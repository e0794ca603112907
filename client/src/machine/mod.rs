//! The client as a pure state machine: frames, commands and time in; frames, records and items out. No I/O, no clock, no
//! randomness of its own (its jitter is seeded), so that every interleaving can be tested.
//!
//! - [`Machine`] (here): the connection's life: connect, hello, welcome, loss, the end.
//! - [`upstream`]: events, their numbers, what may be sent, go-back-N.
//! - [`downstream`]: deliveries, answers exactly once, gaps, acknowledgements.
//! - [`inbox`]: what was received and not yet acknowledged, and what acknowledging it means.
//! - [`record`]: what an outbox file keeps.
//!
//! Whoever drives it: takes records and keeps them ([`Machine::take_records`], then [`Machine::recorded`]), opens a
//! stream when told to ([`Machine::should_connect`], [`Machine::begin_connect`]), feeds frames and losses with the
//! generation of their stream, and calls [`Machine::tick`] at [`Machine::next_deadline`].

pub(crate) mod backoff;
mod downstream;
mod inbox;
pub(crate) mod record;
mod seqset;
mod upstream;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use nimbus_proto::v1::{self, GoAwayReason, ResumeOutcome, client_frame::Kind as Up, server_frame::Kind as Down};
use tokio::time::Instant;

pub(crate) use self::record::{Memory, Record};
use self::{backoff::Backoff, downstream::Downstream, upstream::Upstream};
use crate::{Error, Gap, Resumed, Session, State};

/// How long a connect and its handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that held this long was a good one: the next loss begins with short waits again.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How long a stream may stay open after GoAway, or after everything was answered, before the client leaves it.
const LEAVE_AFTER: Duration = Duration::from_secs(2);
/// The server's default, for one that does not say.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// The protocol's bound of `Resume.answered_beyond`.
const MAX_ANSWERED_BEYOND: usize = 4096;

/// What does not change during a client's life.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) client_id: String,
    pub(crate) outbox_id: Bytes,
    pub(crate) sdk: String,
    pub(crate) receive_window: u32,
    /// How long a suspect may stay without an answer after a gap, counted in connected time.
    pub(crate) unknown_after: Duration,
    /// Whether records are kept: then nothing is sent before it is.
    pub(crate) keeps_records: bool,
    pub(crate) seed: u64,
}

/// How a stream ended.
#[derive(Debug, Clone)]
pub(crate) enum Loss {
    /// The server ended it with OK.
    Ended,
    /// It broke, or the server asks to come back.
    Retry { after: Duration, why: String },
    /// Never again.
    Terminal(Error),
}

/// Up to where records were taken; to be given back once they are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checkpoint {
    last_seq: u64,
    position: u64,
    /// Which log the position belongs to, see [`downstream::Downstream::log_no`].
    log_no: Option<u64>,
    receipt: u64,
    /// Whether they must survive a power loss before anything else happens.
    pub(crate) must_sync: bool,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Instant, delay: Duration, why: String },
    Opening { until: Instant, hello_sent: bool },
    Live(Live),
    Ended(Option<Error>),
}

/// One live session.
#[derive(Debug)]
struct Live {
    session: Session,
    since: Instant,
    last_heard: Instant,
    ping_interval: Duration,
    max_in_flight: u64,
    window: u32,
    /// The next event to send on this stream.
    next_to_send: u64,
    /// Set by Rejected: nothing is sent before.
    hold_until: Option<Instant>,
    /// Position of the newest delivery on this stream: an Ack must not name more.
    delivered: u64,
    acked: u64,
    pongs: u32,
    goodbye_sent: bool,
    /// Set by GoAway: no more events, and the client leaves by itself at that time.
    leaving: Option<Leaving>,
    /// Suspects that have no answer by then get none.
    suspects_until: Instant,
    /// Set when a client that said goodbye has everything: the server may end the stream by then.
    done_at: Option<Instant>,
}

impl Live {
    /// When silence means that the server is gone. After a goodbye there are no pings; HTTP/2 keepalive takes over.
    fn silence_ends(&self) -> Option<Instant> {
        (!self.goodbye_sent).then(|| self.last_heard + 2 * self.ping_interval)
    }
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    at: Instant,
    retry_at: Instant,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Machine {
    options: Options,
    session_no: u64,
    phase: Phase,
    /// Counts streams: frames and losses of any but the newest are ignored.
    generation: u64,
    backoff: Backoff,
    up: Upstream,
    down: Downstream,
    records: Vec<Record>,
    /// Records that nothing may precede.
    urgent: bool,
    /// Records that can wait for company until then.
    dirty_until: Option<Instant>,
    recorded: Checkpoint,
    /// The position in the newest record.
    recorded_position: u64,
    finishing: bool,
}

impl Machine {
    pub(crate) fn new(options: Options, memory: Memory, now: Instant) -> Self {
        let recorded = Checkpoint { last_seq: memory.last_seq(), ..Checkpoint::default() };
        let recorded_position = memory.place.position;
        Self {
            session_no: memory.session_no,
            phase: Phase::Waiting { until: now, delay: Duration::ZERO, why: "not connected yet".to_owned() },
            generation: 0,
            backoff: Backoff::new(options.seed),
            down: Downstream::new(memory.place),
            up: Upstream::new(memory.accepted, memory.events),
            records: Vec::new(),
            urgent: false,
            dirty_until: None,
            recorded,
            recorded_position,
            finishing: false,
            options,
        }
    }

    // The connection.

    /// Whether a stream is to be opened now.
    pub(crate) fn should_connect(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Waiting { until, .. } if until <= now)
    }

    /// Begins an attempt; its stream has the generation that is returned. The session number must be kept (see
    /// [`take_records`](Self::take_records)) before the stream is opened.
    pub(crate) fn begin_connect(&mut self, now: Instant) -> u64 {
        self.generation += 1;
        self.session_no += 1;
        self.record_urgently(Record::Session { number: self.session_no });
        self.phase = Phase::Opening { until: now + CONNECT_TIMEOUT, hello_sent: false };
        self.generation
    }

    /// Whether this generation's stream is still wanted.
    pub(crate) const fn wants_stream(&self, generation: u64) -> bool {
        self.generation == generation && matches!(self.phase, Phase::Opening { .. } | Phase::Live(_))
    }

    /// A stream ended.
    pub(crate) fn lost(&mut self, now: Instant, generation: u64, loss: Loss) {
        if !self.wants_stream(generation) {
            return;
        }
        match loss {
            Loss::Terminal(error) => self.phase = Phase::Ended(Some(error)),
            Loss::Ended => {
                let said_goodbye = matches!(&self.phase, Phase::Live(live) if live.goodbye_sent);
                if said_goodbye {
                    // The server says that nothing is outstanding: what has no answer by now lay in the gap.
                    self.down.settle_suspects(u64::MAX, &mut self.records);
                }
                self.retry(now, Duration::ZERO, "the server ended the stream".to_owned());
            }
            Loss::Retry { after, why } => self.retry(now, after, why),
        }
        self.end_if_finished(now);
    }

    fn retry(&mut self, now: Instant, after: Duration, why: String) {
        let mut at_least = after;
        if let Phase::Live(live) = &self.phase {
            if now.saturating_duration_since(live.since) >= STABLE_AFTER {
                self.backoff.reset();
            }
            if let Some(leaving) = live.leaving {
                at_least = at_least.max(leaving.retry_at.saturating_duration_since(now));
            }
        }
        let delay = self.backoff.next(at_least);
        self.phase = Phase::Waiting { until: now + delay, delay, why };
    }

    /// One frame from the stream of this generation.
    pub(crate) fn frame(&mut self, now: Instant, generation: u64, frame: v1::ServerFrame) {
        if !self.wants_stream(generation) {
            return;
        }
        // A kind that this version does not know.
        let Some(kind) = frame.kind else { return self.heard(now) };
        match (&mut self.phase, kind) {
            (Phase::Opening { .. }, Down::Welcome(welcome)) => self.welcome(now, welcome),
            (_, Down::GoAway(go_away)) => self.go_away(now, &go_away),
            (Phase::Live(live), kind) => {
                live.last_heard = now;
                match kind {
                    Down::Accepted(accepted) => self.accepted(now, accepted.up_to_seq),
                    Down::Rejected(rejected) => live.rejected(now, &rejected, &self.up),
                    Down::Delivery(delivery) => self.delivery(now, delivery),
                    Down::Ping(ping) => {
                        live.pongs += 1;
                        self.bookmark(now, ping.bookmark);
                    }
                    Down::Welcome(_) | Down::GoAway(_) => {
                        let why = "the server broke the protocol: a second welcome".to_owned();
                        self.retry(now, Duration::ZERO, why);
                    }
                }
            }
            (_, kind) => {
                let why = format!("the server broke the protocol: {} before its welcome", kind_name(&kind));
                self.retry(now, Duration::ZERO, why);
            }
        }
        self.end_if_finished(now);
    }

    fn heard(&mut self, now: Instant) {
        if let Phase::Live(live) = &mut self.phase {
            live.last_heard = now;
        }
    }

    fn welcome(&mut self, now: Instant, welcome: v1::Welcome) {
        if welcome.accepted_seq > self.up.last_seq() {
            let error = Error::OutboxOutdated { accepted: welcome.accepted_seq, last: self.up.last_seq() };
            self.phase = Phase::Ended(Some(error));
            return;
        }
        self.accepted(now, welcome.accepted_seq);
        let resumed = self.resume(&welcome);
        let limits = welcome.limits.unwrap_or_default();
        let or = |given: u32, default: u32| if given == 0 { default } else { given };
        let ping_interval = match welcome.ping_interval_ms {
            0 => PING_INTERVAL,
            ms => Duration::from_millis(u64::from(ms)),
        };
        let session = Session { server_id: welcome.server_id, session_id: welcome.session_id, resumed };
        self.up.max_payload_bytes = (limits.max_payload_bytes > 0).then_some(limits.max_payload_bytes);
        self.phase = Phase::Live(Live {
            session,
            since: now,
            last_heard: now,
            ping_interval,
            max_in_flight: u64::from(or(limits.max_in_flight, 1024)),
            window: or(limits.receive_window, or(self.options.receive_window, 128)),
            next_to_send: self.up.accepted() + 1,
            hold_until: None,
            delivered: 0,
            acked: 0,
            pongs: 0,
            goodbye_sent: false,
            leaving: None,
            suspects_until: now + self.options.unknown_after,
            done_at: None,
        });
        self.mark_dirty(now);
    }

    /// Settles with the server where deliveries go on from.
    fn resume(&mut self, welcome: &v1::Welcome) -> Resumed {
        let token = welcome.resume_token.clone();
        let outcome = ResumeOutcome::try_from(welcome.resume_outcome).unwrap_or(ResumeOutcome::Unspecified);
        if !self.down.has_begun() {
            self.down.begin(token, welcome.position, &mut self.records);
            return Resumed::New;
        }
        let gap = match (outcome, welcome.gap) {
            (ResumeOutcome::Gap, Some(gap)) => Gap { from: gap.from, to: gap.to },
            // A server that begins anew for a client that has a place left something out.
            (ResumeOutcome::Gap | ResumeOutcome::New, _) => {
                Gap { from: self.down.place().position, to: welcome.position }
            }
            (ResumeOutcome::Resumed | ResumeOutcome::FromLog | ResumeOutcome::Unspecified, _) => {
                self.down.renew_token(token, &mut self.records);
                return Resumed::Complete;
            }
        };
        if self.down.gap(gap, token, self.up.sent()) { Resumed::WithGap } else { Resumed::Complete }
    }

    fn go_away(&mut self, now: Instant, go_away: &v1::GoAway) {
        if go_away.reason() == GoAwayReason::Superseded {
            let message = "a newer session of this client id took over".to_owned();
            self.phase = Phase::Ended(Some(Error::Superseded { message }));
            return;
        }
        let after = Duration::from_millis(u64::from(go_away.retry_after_ms));
        match &mut self.phase {
            // Accepts and deliveries that are under way may still come, so the stream is read to its end.
            Phase::Live(live) => live.leaving = Some(Leaving { at: now + LEAVE_AFTER, retry_at: now + after }),
            _ => self.retry(now, after, "the server turned the session away".to_owned()),
        }
    }

    // Time.

    /// When [`tick`](Self::tick) must be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Waiting { until, .. } | Phase::Opening { until, .. } => Some(*until),
            Phase::Live(live) => {
                let silence = live.silence_ends();
                let suspects = self.down.has_suspects(self.up.accepted()).then_some(live.suspects_until);
                let leaving = live.leaving.map(|leaving| leaving.at);
                [live.hold_until, leaving, live.done_at, suspects].into_iter().flatten().chain(silence).min()
            }
            Phase::Ended(_) => None,
        };
        phase.into_iter().chain(self.dirty_until).min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        let full = self.is_full();
        match &mut self.phase {
            Phase::Opening { until, .. } if *until <= now => {
                self.retry(now, Duration::ZERO, "no answer to the connect in time".to_owned());
            }
            Phase::Live(live) => {
                if live.hold_until.is_some_and(|until| until <= now) {
                    live.hold_until = None;
                }
                if live.done_at.is_some_and(|done_at| done_at <= now) {
                    self.phase = Phase::Ended(None);
                } else if live.leaving.is_some_and(|leaving| leaving.at <= now) {
                    self.retry(now, Duration::ZERO, "the server went away".to_owned());
                } else if live.silence_ends().is_some_and(|at| at <= now) {
                    if full {
                        // The silence is ours.
                        live.last_heard = now;
                        return;
                    }
                    self.retry(now, Duration::ZERO, "nothing was heard for two ping intervals".to_owned());
                } else if live.suspects_until <= now {
                    self.down.settle_suspects(self.up.accepted() + 1, &mut self.records);
                }
            }
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Ended(_) => {}
        }
        self.end_if_finished(now);
    }

    // Frames to the server.

    /// The next frame for the stream of this generation, if there is one now.
    pub(crate) fn next_frame(&mut self, now: Instant, generation: u64) -> Option<v1::ClientFrame> {
        if !self.wants_stream(generation) {
            return None;
        }
        let kind = match &mut self.phase {
            Phase::Opening { hello_sent, .. } => {
                if std::mem::replace(hello_sent, true) {
                    return None;
                }
                Up::Hello(self.hello())
            }
            Phase::Live(_) => self.next_live_frame(now)?,
            Phase::Waiting { .. } | Phase::Ended(_) => return None,
        };
        Some(v1::ClientFrame { kind: Some(kind) })
    }

    fn next_live_frame(&mut self, now: Instant) -> Option<Up> {
        let ack = self.due_ack();
        let everything_accepted = self.up.everything_accepted();
        let sendable = if self.options.keeps_records { self.recorded.last_seq } else { self.up.last_seq() };
        let Phase::Live(live) = &mut self.phase else { return None };
        if live.pongs > 0 {
            live.pongs -= 1;
            return Some(Up::Pong(v1::Pong {}));
        }
        if let Some(position) = ack {
            live.acked = position;
            return Some(Up::Ack(v1::Ack { position }));
        }
        if live.leaving.is_some() || live.goodbye_sent {
            return None;
        }
        let may_send = live.hold_until.is_none_or(|until| until <= now)
            && live.next_to_send <= sendable
            && live.next_to_send - self.up.accepted() <= live.max_in_flight;
        if may_send {
            let event = self.up.take(live.next_to_send)?;
            live.next_to_send += 1;
            return Some(Up::Event(event));
        }
        // Only now: a refused event could not be sent again after it.
        if self.finishing && everything_accepted {
            live.goodbye_sent = true;
            return Some(Up::Goodbye(v1::Goodbye {}));
        }
        None
    }

    fn hello(&self) -> v1::Hello {
        let place = self.down.place();
        let resume = place.token.as_ref().map(|token| v1::Resume {
            token: token.clone(),
            position: place.position,
            answered: place.answered.through(),
            answered_beyond: place.answered.beyond().take(MAX_ANSWERED_BEYOND).collect(),
        });
        v1::Hello {
            client_id: self.options.client_id.clone(),
            outbox_id: self.options.outbox_id.clone(),
            session_no: self.session_no,
            first_unaccepted: self.up.accepted() + 1,
            resume,
            receive_window: self.options.receive_window,
            sdk: self.options.sdk.clone(),
        }
    }

    // Records.

    fn record_urgently(&mut self, record: Record) {
        if self.options.keeps_records {
            self.records.push(record);
            self.urgent = true;
        }
    }

    /// Whether records are due now.
    pub(crate) fn records_due(&self, now: Instant) -> bool {
        self.urgent || self.handover_due() || self.dirty_until.is_some_and(|until| until <= now)
    }

    /// What is to be kept. Everything in it must be kept before [`recorded`](Self::recorded) is called.
    pub(crate) fn take_records(&mut self) -> (Vec<Record>, Checkpoint) {
        let position = self.down.place().position;
        let mut records = std::mem::take(&mut self.records);
        if let Some(through) = self.up.take_unrecorded_accept() {
            records.push(Record::Accepted { through });
        }
        if position != self.recorded_position {
            records.push(Record::Position { position });
            self.recorded_position = position;
        }
        if !self.options.keeps_records {
            records.clear();
        }
        self.dirty_until = None;
        self.down.take_freed();
        let checkpoint = Checkpoint {
            last_seq: self.up.last_seq(),
            position,
            log_no: self.down.log_no(),
            receipt: self.down.acknowledged_receipt(),
            must_sync: std::mem::take(&mut self.urgent),
        };
        (records, checkpoint)
    }

    /// The records up to this checkpoint are kept.
    pub(crate) const fn recorded(&mut self, checkpoint: Checkpoint) {
        self.recorded = checkpoint;
    }

    /// The last event that is kept.
    pub(crate) const fn recorded_seq(&self) -> u64 {
        self.recorded.last_seq
    }

    /// The last receipt whose acknowledgement is kept.
    pub(crate) const fn recorded_receipt(&self) -> u64 {
        self.recorded.receipt
    }

    /// Everything that a restart needs, for a file to begin with. No records may be waiting.
    pub(crate) fn snapshot(&self) -> Vec<Record> {
        record::snapshot(self.session_no, self.up.accepted(), self.up.events(), self.down.place())
    }

    // The end.

    /// No more events. The machine ends once everything has its outcome.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.finishing = true;
        self.end_if_finished(now);
    }

    /// The end, at once.
    pub(crate) fn close(&mut self) {
        if !self.has_ended() {
            self.phase = Phase::Ended(None);
        }
    }

    /// The end, because something failed.
    pub(crate) fn fail(&mut self, error: Error) {
        if !self.has_ended() {
            self.phase = Phase::Ended(Some(error));
        }
    }

    fn end_if_finished(&mut self, now: Instant) {
        if !self.finishing || !self.up.everything_accepted() || self.unanswered() > 0 {
            return;
        }
        match &mut self.phase {
            // The server hears the goodbye and ends the stream.
            Phase::Live(live) => {
                live.done_at.get_or_insert(now + LEAVE_AFTER);
            }
            Phase::Waiting { .. } | Phase::Opening { .. } => self.phase = Phase::Ended(None),
            Phase::Ended(_) => {}
        }
    }

    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    pub(crate) const fn is_finishing(&self) -> bool {
        self.finishing
    }

    /// Why the machine ended, if it was for an error.
    pub(crate) const fn failure(&self) -> Option<&Error> {
        match &self.phase {
            Phase::Ended(error) => error.as_ref(),
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Live(_) => None,
        }
    }

    // What can be seen from outside.

    pub(crate) fn state(&self) -> State {
        match &self.phase {
            Phase::Waiting { delay, why, .. } => State::Waiting { delay: *delay, why: why.clone() },
            Phase::Opening { .. } => State::Connecting,
            Phase::Live(live) => State::Connected(live.session.clone()),
            Phase::Ended(None) => State::Closed,
            Phase::Ended(Some(error)) => State::Failed(error.clone()),
        }
    }

    /// Changes whenever [`state`](Self::state) does.
    pub(crate) const fn state_version(&self) -> (u64, u8) {
        let phase = match &self.phase {
            Phase::Opening { .. } => 0,
            Phase::Live(_) => 1,
            Phase::Waiting { .. } => 2,
            Phase::Ended(_) => 3,
        };
        (self.generation, phase)
    }

    /// Events that have no outcome yet.
    pub(crate) fn unanswered(&self) -> u64 {
        self.up.last_seq() - self.down.settled()
    }

    /// The last event that has a number.
    pub(crate) fn last_seq(&self) -> u64 {
        self.up.last_seq()
    }

    /// Events that are not accepted yet.
    pub(crate) fn unaccepted(&self) -> u64 {
        self.up.last_seq() - self.up.accepted()
    }

    fn mark_dirty(&mut self, now: Instant) {
        self.dirty_until.get_or_insert(now + downstream::ACK_DELAY);
    }
}

const fn kind_name(kind: &Down) -> &'static str {
    match kind {
        Down::Welcome(_) => "welcome",
        Down::Accepted(_) => "accepted",
        Down::Rejected(_) => "rejected",
        Down::Delivery(_) => "delivery",
        Down::Ping(_) => "ping",
        Down::GoAway(_) => "go-away",
    }
}
