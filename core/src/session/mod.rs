//! One client's session as a pure state machine: frames and time in, actions out.
//!
//! It does no I/O and holds no handle: the driver in `server` feeds it [`Input`]s in the order in which they happen and carries
//! out the [`Action`]s in the order in which they come out. The same machine serves both wire protocols; the original
//! one has no acknowledgements and no pings.
//!
//! A session begins when its surroundings are ready ([`Session::open`]): the edge has read the Hello, authenticated the
//! caller, registered the session and claimed the client, in that order (rule 18).

mod answers;
mod beat;
mod downstream;
mod limits;
mod liveness;
mod original;
mod protocol;
mod upstream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::{
    answers::Answers,
    beat::beat_until,
    downstream::Queue,
    limits::{
        Limits, MAX_ANSWERED_BEYOND, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES, MAX_PAYLOAD_CAP_BYTES, MAX_RECEIVE_WINDOW,
        MAX_SEQ, MAX_TRACEPARENT_BYTES, STORAGE_FULL_RETRY,
    },
    protocol::{
        Action, ClientFrame, Close, Delivered, Fetch, GoAwayReason, Hello, Input, NewEvent, Now, Opened, Rejected,
        Resume, ResumeOutcome, ServerFrame, Welcome,
    },
    upstream::{Admission, Unlimited},
};
use self::{
    downstream::{Bounds, Downstream},
    liveness::Liveness,
    original::HandedOver,
    upstream::{Settled, Taken, Upstream},
};
use crate::{Origin, Position, Reason, SessionId, ports::log::Range};

/// Which wire protocol the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `nimbus.v1.Gateway`: acknowledgements, pings, go-away.
    V1,
    /// `nimbus.NimbusService`: none of these; only results go down.
    Original,
}

/// What holds a client back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// It has sent as many events as may be on their way into the log.
    InFlight,
    /// It does not take what is queued for it.
    Queue,
    /// It has deliveries to come, and does not acknowledge those it has.
    Window,
}

/// Where the session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// No more events are taken; what was taken is still made durable, then the stream ends for this reason.
    Leaving(GoAwayReason),
    Closed,
}

/// What a session begins with.
#[derive(Debug)]
pub struct Start<'a> {
    /// What the client speaks.
    pub dialect: Dialect,
    /// What it may do.
    pub limits: Limits,
    /// The session's own id.
    pub id: SessionId,
    /// Stamped on every event.
    pub origin: Arc<Origin>,
    /// What the client said first.
    pub hello: &'a Hello,
    /// What the surroundings answered.
    pub opened: Opened,
}

/// One open session.
#[derive(Debug)]
pub struct Session {
    dialect: Dialect,
    limits: Limits,
    phase: Phase,
    completed: bool,
    up: Upstream,
    down: Downstream,
    liveness: Liveness,
    handed_over: HandedOver,
    /// What the mailbox was last told.
    ack_told: Position,
    next_ack: Instant,
}

impl Session {
    /// Opens the session and says what the client is told first.
    ///
    /// # Errors
    /// [`Close`] with `POSITION_FROM_THE_FUTURE` when the client remembers more than the log holds.
    pub fn open(start: Start<'_>, now: Now, actions: &mut Vec<Action>) -> Result<Self, Close> {
        let Start { dialect, limits, id, origin, hello, opened } = start;
        let (outcome, position) = resume(hello, &opened)?;
        let accepted = (hello.first_unaccepted - 1).max(opened.claimed.answered);
        let window = match hello.receive_window {
            0 => limits.receive_window,
            asked => asked.min(MAX_RECEIVE_WINDOW),
        };
        let answers = match &hello.resume {
            Some(resume) => Answers::new(resume.answered, resume.answered_beyond.iter().copied()),
            None => Answers::default(),
        };
        let bounds = Bounds {
            window: (dialect == Dialect::V1).then_some(window),
            queue_messages: limits.queue_messages,
            queue_bytes: limits.queue_bytes,
        };
        let mut session = Self {
            dialect,
            phase: Phase::Open,
            completed: false,
            up: Upstream::new(Arc::clone(&origin), accepted),
            down: Downstream::new(origin.outbox, bounds, position, opened.claimed.applied, answers),
            liveness: Liveness::new(&limits, now),
            handed_over: HandedOver::new(limits.original_flight),
            ack_told: position,
            next_ack: now.instant,
            limits,
        };
        if matches!(outcome, ResumeOutcome::Gap { .. }) {
            session.down.forgive(accepted);
        }
        if dialect == Dialect::V1 {
            actions.push(Action::Send(ServerFrame::Welcome(Welcome {
                accepted_seq: accepted,
                outcome,
                position,
                receive_window: window,
                token: opened.claimed.token,
                session: id,
            })));
        }
        session.settle(actions);
        Ok(session)
    }

    /// Takes one input and adds what is to be done to `actions`.
    pub fn handle(&mut self, input: Input, admission: &mut dyn Admission, now: Now, actions: &mut Vec<Action>) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::Frame(frame) => {
                self.liveness.heard();
                self.frame(frame, admission, now, actions);
            }
            Input::Fail(close) => self.close(close, actions),
            Input::HalfClosed => self.half_close(),
            Input::Appended(outcome) => self.appended(outcome, actions),
            Input::Notified(batch) => self.down.notified(&batch, actions),
            Input::Missed(reach) => self.down.missed(reach),
            Input::Fetched { records, through, complete } => self.down.fetched(records, through, complete, actions),
            Input::NotReading => self.liveness.heard(),
            Input::HandedOver(position) => self.handed_over.note(position, now),
            Input::Heard(at) => self.handed_over.heard(at),
            Input::Bookmark(position) => self.down.bookmark(position),
            Input::Drain => self.leave(GoAwayReason::Draining, actions),
            Input::Superseded => self.leave(GoAwayReason::Superseded, actions),
            Input::Tick => self.tick(now, actions),
        }
    }

    /// Says how full the outgoing queue is. To be called before [`handle`](Self::handle) whenever it shrank.
    pub fn set_queue(&mut self, queue: Queue) {
        self.down.set_queue(queue);
    }

    /// Finishes a round of inputs: hands the gathered events over in one append, and whatever else follows from the
    /// new state. To be called once after every run of [`handle`](Self::handle).
    pub fn settle(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Closed {
            return;
        }
        if let Some(batch) = self.up.take_batch() {
            actions.push(Action::Append(batch));
        }
        if let Some(accepted) = self.up.take_repeat() {
            self.send(ServerFrame::Accepted(accepted), actions);
        }
        if let Some(fetch) = self.down.next_fetch() {
            actions.push(Action::Fetch(fetch));
        }
        self.finish(actions);
    }

    /// Whether the driver should read frames from the client. False at a limit: that is the back-pressure.
    pub fn wants_frames(&self) -> bool {
        self.phase == Phase::Open && self.in_flight() < self.limits.max_in_flight && self.down.has_room()
    }

    /// What holds the client back just now, if anything: it has sent, or not taken, as much as it may.
    pub fn held_by(&self) -> Option<Held> {
        if self.phase != Phase::Open {
            return None;
        }
        if self.in_flight() >= self.limits.max_in_flight {
            Some(Held::InFlight)
        } else if !self.down.has_room() {
            Some(Held::Queue)
        } else {
            self.down.waits_for_credit().then_some(Held::Window)
        }
    }

    /// What counts against `max_in_flight`.
    fn in_flight(&self) -> usize {
        match self.dialect {
            Dialect::V1 => self.up.in_flight(),
            // Its answers wait for one another in the edge: so what is unanswered is bounded, not what is not durable.
            Dialect::Original => usize::try_from(self.up.next_seq() - 1 - self.down.answered()).unwrap_or(usize::MAX),
        }
    }

    /// When [`Input::Tick`] is due; `None` while only other inputs can change anything.
    pub fn deadline(&self) -> Option<Instant> {
        match self.dialect {
            Dialect::V1 if self.ack_due() => Some(self.liveness.deadline().min(self.next_ack)),
            Dialect::V1 => Some(self.liveness.deadline()),
            Dialect::Original => self.handed_over.deadline(),
        }
    }

    /// Everything before this was sent to the client.
    pub fn sent(&self) -> Position {
        self.down.sent()
    }

    /// The sequence number that the next event of a protocol without sequence numbers gets.
    pub fn next_seq(&self) -> u64 {
        self.up.next_seq()
    }

    /// Every event up to this is durable, as far as this session knows.
    pub fn accepted_seq(&self) -> u64 {
        self.up.accepted()
    }

    /// Whether the session has ended because everything was delivered.
    pub fn completed(&self) -> bool {
        self.completed
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn frame(&mut self, frame: ClientFrame, admission: &mut dyn Admission, now: Now, actions: &mut Vec<Action>) {
        match frame {
            ClientFrame::Event(event) if self.phase == Phase::Open => {
                match self.up.take(event, &self.limits, admission, now) {
                    Taken::Yes | Taken::Discarded => {}
                    Taken::Rejected(rejected) => self.reject(rejected, actions),
                    Taken::Violation(close) => {
                        // What was taken before stands: it is made durable, though nobody will hear of it here.
                        if let Some(batch) = self.up.take_batch() {
                            actions.push(Action::Append(batch));
                        }
                        self.close(close, actions);
                    }
                }
            }
            ClientFrame::Event(_) => {}
            ClientFrame::Ack(position) => {
                if let Err(close) = self.down.acked(position) {
                    self.close(close, actions);
                }
            }
            ClientFrame::Pong | ClientFrame::Unknown => {}
            // Unlike after a half-close the client can still answer pings and give credit.
            ClientFrame::Goodbye => self.up.close(),
        }
    }

    /// The original protocol has no frame for a refusal that passes, and a client that hears nothing never sends again: its
    /// stream ends.
    fn reject(&mut self, rejected: Rejected, actions: &mut Vec<Action>) {
        match self.dialect {
            Dialect::V1 => self.send(ServerFrame::Rejected(rejected), actions),
            Dialect::Original => {
                if let Some(batch) = self.up.take_batch() {
                    actions.push(Action::Append(batch));
                }
                let Rejected { reason, message, retry_after, .. } = rejected;
                self.close(Close { reason: Some(reason), message, retry_after: Some(retry_after) }, actions);
            }
        }
    }

    fn half_close(&mut self) {
        self.up.close();
        self.liveness.half_closed();
        self.down.acks_end();
    }

    fn appended(&mut self, outcome: Result<(), crate::ports::log::LogError>, actions: &mut Vec<Action>) {
        match self.up.settled(outcome) {
            Ok(Settled::Accepted(seq)) => self.send(ServerFrame::Accepted(seq), actions),
            Ok(Settled::Rejected(rejected)) => self.reject(rejected, actions),
            Ok(Settled::Nothing) => {}
            Err(close) => {
                self.send(ServerFrame::GoAway(GoAwayReason::Reset), actions);
                self.close(close, actions);
            }
        }
    }

    fn tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.dialect == Dialect::Original {
            if let Some(position) = self.handed_over.tick(now) {
                self.tell_ack(position, actions);
            }
            return;
        }
        if self.ack_due() && now.instant >= self.next_ack {
            self.next_ack = now.instant + self.limits.ack_interval;
            self.tell_ack(self.down.acked_position(), actions);
        }
        if !self.wants_frames() && self.down.has_room() {
            // We are not reading, and not for the client's sake, so its silence says nothing. (A client that does not take
            // what is queued for it is not read from either, and is given up.)
            self.liveness.heard();
        }
        match self.liveness.tick(now) {
            liveness::Verdict::Fine => {}
            liveness::Verdict::Ping => self.send(ServerFrame::Ping(self.down.sent()), actions),
            liveness::Verdict::Dead => {
                let message = "nothing came from the client within the pong deadline";
                self.close(Close::because(Reason::ClientUnresponsive, message), actions);
            }
        }
    }

    /// The original protocol's stream ended cleanly after everything sent was written: all of it counts as delivered.
    pub fn ended_cleanly(&mut self, actions: &mut Vec<Action>) {
        if self.dialect == Dialect::Original {
            self.tell_ack(self.down.sent(), actions);
        }
    }

    fn ack_due(&self) -> bool {
        self.down.acked_position() > self.ack_told
    }

    fn tell_ack(&mut self, position: Position, actions: &mut Vec<Action>) {
        if position > self.ack_told {
            self.ack_told = position;
            actions.push(Action::Ack(position));
        }
    }

    fn leave(&mut self, reason: GoAwayReason, actions: &mut Vec<Action>) {
        if self.phase == Phase::Open {
            self.send(ServerFrame::GoAway(reason), actions);
        }
        self.phase = Phase::Leaving(reason);
    }

    /// Ends the stream if nothing is left to wait for.
    fn finish(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Leaving(GoAwayReason::Superseded) => {
                let message = "a newer session of this client id took over";
                self.close(Close::because(Reason::Superseded, message), actions);
            }
            Phase::Leaving(GoAwayReason::Draining | GoAwayReason::Reset) if self.up.in_flight() == 0 => {
                self.close(Close::because(Reason::Draining, "the server shuts down"), actions);
            }
            Phase::Open
                if self.up.is_closed()
                    && self.up.in_flight() == 0
                    && self.down.is_live()
                    && self.down.covers(self.up.accepted()) =>
            {
                self.close(Close::complete(), actions);
            }
            Phase::Open | Phase::Leaving(_) | Phase::Closed => {}
        }
    }

    fn close(&mut self, close: Close, actions: &mut Vec<Action>) {
        self.completed = close.reason.is_none();
        if self.dialect == Dialect::V1 {
            self.tell_ack(self.down.acked_position(), actions);
        }
        actions.push(Action::Close(close));
        self.phase = Phase::Closed;
    }

    /// Sends a frame other than a delivery, unless the dialect has no such thing.
    fn send(&mut self, frame: ServerFrame, actions: &mut Vec<Action>) {
        if self.dialect == Dialect::V1 {
            self.down.count_control_frame();
            actions.push(Action::Send(frame));
        }
    }
}

/// Refuses a resume that can never be served, from what the client said and what its partition holds (rule 24). To be
/// asked before the claim, which ends the live session for good.
///
/// # Errors
/// [`Close`] with `POSITION_FROM_THE_FUTURE`.
pub fn check_resume(hello: &Hello, range: Range) -> Result<(), Close> {
    match &hello.resume {
        Some(resume) if !resume.foreign_epoch && resume.position > range.end => {
            let message = format!("field resume.position is {}; the log ends at {}", resume.position, range.end);
            Err(Close::because(Reason::PositionFromTheFuture, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// Decides from where deliveries follow (rules 14, 23, 24).
fn resume(hello: &Hello, opened: &Opened) -> Result<(ResumeOutcome, Position), Close> {
    let range = opened.range;
    check_resume(hello, range)?;
    let Some(resume) = &hello.resume else {
        // A client that lost its very first Welcome begins where its outbox began.
        let position = opened.claimed.start;
        return Ok(match position < range.start {
            true => (ResumeOutcome::Gap { from: position, to: range.start }, range.start),
            false if !opened.claimed.known => (ResumeOutcome::New, position),
            false if position < opened.floor => (ResumeOutcome::FromLog, position),
            false => (ResumeOutcome::Resumed, position),
        });
    };
    if resume.foreign_epoch {
        return Ok((ResumeOutcome::Gap { from: resume.position, to: range.start }, range.start));
    }
    let position = resume.position;
    Ok(if position < range.start {
        (ResumeOutcome::Gap { from: position, to: range.start }, range.start)
    } else if position < opened.floor {
        (ResumeOutcome::FromLog, position)
    } else {
        (ResumeOutcome::Resumed, position)
    })
}
