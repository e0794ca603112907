//! The client as a pure state machine: frames, commands and time in; frames, records and items out. No I/O, no clock, no
//! randomness of its own (its jitter is seeded), so that every interleaving can be tested.
//!
//! - [`Machine`] (here): its state, time, the end, and what can be seen from outside.
//! - [`session`]: the life of a stream: connect, hello, welcome, loss.
//! - [`sending`]: which frame goes up next.
//! - [`keeping`]: what an outbox file is to keep, and when.
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
mod keeping;
pub(crate) mod record;
mod sending;
mod seqset;
mod session;
mod upstream;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::record::{Memory, Record};
use self::{backoff::Backoff, downstream::Downstream, upstream::Upstream};
use crate::{Departures, Error, Session, State};

/// How long a connect and its handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that held this long was a good one: the next loss begins with short waits again.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How long a stream may stay open after GoAway, or after everything was answered, before the client leaves it.
const LEAVE_AFTER: Duration = Duration::from_secs(2);
/// What each connection, and each return to reading, has at least for what has come meanwhile, before a suspect is given
/// up.
const READING_TIME: Duration = Duration::from_secs(5);
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
    /// Accepted suspects that have no answer by then are waited for no longer.
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
    /// How long suspects are still waited for, as of the last loss: connected time counts, over all connections.
    patience: Duration,
    departures: Departures,
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
            patience: options.unknown_after,
            departures: Departures::default(),
            options,
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
                    if full {
                        // Their answers may lie where we do not read.
                        live.suspects_until = now + READING_TIME;
                    } else {
                        self.down.settle_suspects(self.up.accepted(), &mut self.records);
                    }
                }
            }
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Ended(_) => {}
        }
        self.end_if_finished(now);
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

    /// How sessions ended that were gone on from.
    pub(crate) const fn departures(&self) -> Departures {
        self.departures
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
