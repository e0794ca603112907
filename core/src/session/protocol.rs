//! What goes into a session and what comes out of it: frames, events of the surroundings, and actions.
//!
//! The edge translates between these and a wire protocol; nothing here knows how frames are encoded.

use std::{ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    Attributes, ContentType, Event, InvalidId, OutboxId, Position, Reason, ResultRecord, SessionId,
    clock::UnixMillis,
    id::EventName,
    ports::{
        log::{LogError, Range, Stored},
        mailbox::Claimed,
    },
};

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For durations.
    pub instant: Instant,
    /// For stamps and deadlines.
    pub unix: UnixMillis,
}

/// The client's opening, after its fields were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The outbox whose events follow.
    pub outbox: OutboxId,
    /// The lowest sequence number not known to be accepted; at least 1.
    pub first_unaccepted: u64,
    /// Where the client left off, if it has been here before.
    pub resume: Option<Resume>,
    /// Deliveries that may be unacknowledged; 0 = the server's default.
    pub receive_window: u32,
}

/// Where a client left off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// It has everything before this.
    pub position: Position,
    /// Every event up to this has its terminal answer.
    pub answered: u64,
    /// Events above `answered` that have theirs as well.
    pub answered_beyond: Vec<u64>,
    /// The position belongs to another incarnation of the log and says nothing about this one.
    pub foreign_epoch: bool,
}

/// An event as the client sent it, before any check that needs the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its sequence number.
    pub seq: u64,
    /// Its name, or what is wrong with it.
    pub name: Result<EventName, InvalidId>,
    /// Opaque.
    pub payload: Bytes,
    /// Media type.
    pub content_type: ContentType,
    /// Free for the application.
    pub attributes: Attributes,
    /// Past this it is not to be executed.
    pub deadline: Option<UnixMillis>,
    /// W3C trace context.
    pub traceparent: String,
    /// Whatever the edge wants back with each result.
    pub edge_context: Bytes,
}

/// What the client sends once the session is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// One event.
    Event(NewEvent),
    /// Everything before this was handed to the application.
    Ack(Position),
    /// The answer to a ping.
    Pong,
    /// No more events.
    Goodbye,
    /// A kind of frame that this version does not know: counted and ignored.
    Unknown,
}

/// The surroundings are ready for the session: it was authenticated, registered and claimed.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What the claim said.
    pub claimed: Claimed,
    /// What the client's results partition held just before the claim.
    pub range: Range,
    /// The mailbox can serve from here; older positions come from the log.
    pub floor: Position,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A frame arrived.
    Frame(ClientFrame),
    /// The session cannot go on: the client broke the protocol in a way the edge noticed, or a port failed.
    Fail(Close),
    /// The client closed its sending side.
    HalfClosed,
    /// The oldest append of those that [`Action::Append`] asked for is over: durable, or why not.
    Appended(Result<(), LogError>),
    /// New results of this client.
    Notified(Arc<[Stored<ResultRecord>]>),
    /// Notifications may have been missed: read the mailbox. Must come before any notification that lies behind what was
    /// missed, or the session would send that one first and take what was missed for sent. The last one ended here, as far as
    /// that is known: the mailbox must have come so far again before what it says counts.
    Missed(Position),
    /// What [`Action::Fetch`] asked for.
    Fetched {
        /// In order.
        records: Vec<Stored<ResultRecord>>,
        /// Complete up to here.
        through: Position,
        /// Nothing was held back by the request's limits.
        complete: bool,
    },
    /// Frames of the client were left unread because the log has no room: its silence says nothing. Before a tick.
    NotReading,
    /// The transport has taken every delivery before this out of the outgoing queue (original protocol).
    HandedOver(Position),
    /// Something came from the client's connection at this moment (original protocol). Before a tick.
    Heard(Instant),
    /// Every record of the partition before this was notified, should it concern this client.
    Bookmark(Position),
    /// The server shuts down.
    Drain,
    /// A newer session took the client over.
    Superseded,
    /// A deadline may have passed.
    Tick,
}

/// Why and how a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// What the client is told; `None` ends the stream with OK.
    pub reason: Option<Reason>,
    /// For people.
    pub message: String,
    /// Reconnect no sooner than this.
    pub retry_after: Option<Duration>,
}

impl Close {
    /// The session is complete.
    pub fn complete() -> Self {
        Self { reason: None, message: String::new(), retry_after: None }
    }

    /// The session ends for a reason.
    pub fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: Some(reason), message: message.into(), retry_after: None }
    }
}

/// How a resume was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// There was nothing to resume.
    New,
    /// From the mailbox.
    Resumed,
    /// From the results log.
    FromLog,
    /// Something may have been missed.
    Gap {
        /// Where the client left off.
        from: Position,
        /// What can be served.
        to: Position,
    },
}

/// The answer to Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Every event up to this is durable.
    pub accepted_seq: u64,
    /// What became of the resume.
    pub outcome: ResumeOutcome,
    /// Deliveries follow from here.
    pub position: Position,
    /// The window in force.
    pub receive_window: u32,
    /// The mailbox's token for this client.
    pub token: Bytes,
    /// This session.
    pub session: SessionId,
}

/// An event was not taken for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// It and what followed must be sent again.
    pub seq: u64,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Not before this.
    pub retry_after: Duration,
}

/// Why a server ends a stream on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoAwayReason {
    /// It shuts down.
    Draining,
    /// A newer session took over; terminal.
    Superseded,
    /// It lost its ground; resume.
    Reset,
}

/// One record of those that came down together. Shares the batch: copying a record for each place that it passes through
/// was a tenth of what a delivery costs.
#[derive(Debug, Clone)]
pub struct Delivered {
    batch: Arc<[Stored<ResultRecord>]>,
    index: usize,
}

impl Delivered {
    /// Every record of a batch, in order.
    pub fn each(batch: &Arc<[Stored<ResultRecord>]>) -> impl Iterator<Item = Self> + '_ {
        (0..batch.len()).map(|index| Self { batch: Arc::clone(batch), index })
    }
}

impl From<Stored<ResultRecord>> for Delivered {
    fn from(stored: Stored<ResultRecord>) -> Self {
        Self { batch: Arc::new([stored]), index: 0 }
    }
}

impl Deref for Delivered {
    type Target = Stored<ResultRecord>;

    fn deref(&self) -> &Self::Target {
        &self.batch[self.index]
    }
}

impl PartialEq for Delivered {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// What goes to the client.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerFrame {
    /// The answer to Hello.
    Welcome(Welcome),
    /// Every event up to this is durable or durably refused.
    Accepted(u64),
    /// Go back to an event.
    Rejected(Rejected),
    /// A result.
    Delivery(Delivered),
    /// Are you there; and everything before this position is yours.
    Ping(Position),
    /// This stream is about to end.
    GoAway(GoAwayReason),
}

/// What the driver is to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Send a frame.
    Send(ServerFrame),
    /// Append events to the log; report with [`Input::Appended`]. Appends are made and reported in the order of these
    /// actions, through an appender that ends with its first failure; once `LogError::Full` was reported, the next ones
    /// go through a new one.
    Append(Vec<Event>),
    /// Read what waits for the client, from the mailbox or, below its floor, from the log; report with
    /// [`Input::Fetched`]. At most one is out at a time.
    Fetch(Fetch),
    /// Tell the mailbox that the client has everything before this. A hint: may be delayed and folded.
    Ack(Position),
    /// End the stream after everything sent before. The last action.
    Close(Close),
}

/// A read of what waits for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// From here on.
    pub from: Position,
    /// At most so many records.
    pub max_records: usize,
    /// About so many bytes.
    pub max_bytes: usize,
    /// Answers the client has already, to seed the fold of a read from the log.
    pub answered: u64,
    /// The same, beyond `answered`.
    pub answered_beyond: Vec<u64>,
    /// To be waited for before: the mailbox is being filled, and had nothing more the last time.
    pub pause: Duration,
}
