//! The way down: which results are sent, in which order, and how much the client can take.
//!
//! A session is *catching up* (it reads the mailbox, or below its floor the log) or *live* (it sends what it is notified of).
//! It goes live once a read reached past the highest notified position, and falls back whenever the client cannot take
//! a notification: it drops it and reads again as credit returns. So a slow client costs only itself.
//! Rules 18, 20–23 of the delivery rules.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    answers::Answers,
    protocol::{Action, Close, Delivered, Fetch, ServerFrame},
};
use crate::{
    OutboxId, Position, Reason, ResultRecord,
    ports::log::{LogRecord, Stored},
};

/// How full the outgoing queue is; kept by the driver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queue {
    /// Frames waiting.
    pub messages: usize,
    /// Their framed bytes.
    pub bytes: usize,
}

/// How long a session waits before it reads a mailbox again that is being filled. The first time it does not: usually a
/// notification came while it read.
const REFILL_PAUSE: Duration = Duration::from_millis(50);

/// What a frame other than a delivery takes in the queue, about, in bytes.
const CONTROL_FRAME_BYTES: usize = 32;

/// What bounds deliveries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Unacknowledged deliveries; `None` when the client does not acknowledge (or no longer can).
    pub(super) window: Option<u32>,
    pub(super) queue_messages: usize,
    pub(super) queue_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A read is due.
    CatchingUp,
    /// A read is out. `again`: something may have been missed since, so what it brings may be too old to go live on.
    Fetching { again: bool },
    /// Sending what it is notified of.
    Live,
}

/// The downstream half of a session.
#[derive(Debug)]
pub(super) struct Downstream {
    outbox: OutboxId,
    bounds: Bounds,
    mode: Mode,
    /// Everything before this was sent, or is not for this client.
    sent: Position,
    /// What was folded in for certain: by the newest notification, by the claim, or by what was missed. Only a read that
    /// reaches it has seen everything before: a mailbox that has lost its memory is behind it until it is filled again.
    notified: Position,
    /// How many reads in a row found nothing more although they were behind it.
    behind: u32,
    /// Deliveries sent and not acknowledged.
    unacked: VecDeque<Position>,
    acked: Position,
    /// What the client has, as it said and as was sent since.
    answers: Answers,
    /// After a gap: the same, but as if everything accepted before it were answered, since nobody can wait for that.
    awaited: Option<Answers>,
    queue: Queue,
}

impl Downstream {
    /// `claimed`: how far the mailbox was when the session claimed its client.
    pub(super) fn new(outbox: OutboxId, bounds: Bounds, from: Position, claimed: Position, answers: Answers) -> Self {
        Self {
            outbox,
            bounds,
            mode: Mode::CatchingUp,
            sent: from,
            notified: from.max(claimed),
            behind: 0,
            unacked: VecDeque::new(),
            acked: from,
            answers,
            awaited: None,
            queue: Queue::default(),
        }
    }

    /// Answers up to `seq` may lie in a gap: they may come, but are not waited for.
    pub(super) fn forgive(&mut self, seq: u64) {
        let mut awaited = self.answers.clone();
        awaited.forgive(seq);
        self.awaited = Some(awaited);
    }

    /// Whether nothing up to `seq` is waited for.
    pub(super) fn covers(&self, seq: u64) -> bool {
        self.awaited.as_ref().unwrap_or(&self.answers).cover(seq)
    }

    /// Whether the client has said that it has the answer to this record's event. Only reads can meet such records: after a
    /// gap they begin before what the client had.
    fn is_known(&self, record: &ResultRecord) -> bool {
        record.replay_no == 0 && record.origin.outbox == self.outbox && self.answers.contain(record.seq)
    }

    /// How many more deliveries the client can take now, and how many bytes.
    fn room(&self) -> (usize, usize) {
        let queue = self.bounds.queue_messages.saturating_sub(self.queue.messages);
        let credit = match self.bounds.window {
            Some(window) => (window as usize).saturating_sub(self.unacked.len()),
            None => usize::MAX,
        };
        (queue.min(credit), self.bounds.queue_bytes.saturating_sub(self.queue.bytes))
    }

    /// Whether there is something to deliver, and as much is unacknowledged as may be.
    pub(super) fn waits_for_credit(&self) -> bool {
        let is_full = self.bounds.window.is_some_and(|window| self.unacked.len() >= window as usize);
        is_full && self.mode == Mode::CatchingUp
    }

    /// Results came live.
    pub(super) fn notified(&mut self, batch: &Arc<[Stored<ResultRecord>]>, actions: &mut Vec<Action>) {
        let Some(last) = batch.last() else { return };
        self.notified = self.notified.max(last.offset.position_after());
        if self.mode != Mode::Live {
            return;
        }
        for stored in Delivered::each(batch) {
            if self.sent.covers(stored.offset) {
                continue;
            }
            let (messages, bytes) = self.room();
            if messages == 0 || bytes == 0 {
                self.mode = Mode::CatchingUp;
                return;
            }
            self.deliver(stored, actions);
        }
    }

    /// Notifications may be missing, the last of which ended at `reach`, as far as that is known.
    pub(super) fn missed(&mut self, reach: Position) {
        self.notified = self.notified.max(reach);
        self.mode = match self.mode {
            Mode::Live | Mode::CatchingUp => Mode::CatchingUp,
            Mode::Fetching { .. } => Mode::Fetching { again: true },
        };
    }

    /// A read is back.
    pub(super) fn fetched(
        &mut self,
        records: Vec<Stored<ResultRecord>>,
        through: Position,
        complete: bool,
        actions: &mut Vec<Action>,
    ) {
        debug_assert!(matches!(self.mode, Mode::Fetching { .. }), "a read came back that was not out");
        let before = self.sent;
        for stored in Delivered::each(&records.into()) {
            if !self.sent.covers(stored.offset) && !self.is_known(&stored.record) {
                self.deliver(stored, actions);
            }
        }
        self.sent = self.sent.max(through);
        self.behind = if complete && self.sent == before && self.sent < self.notified { self.behind + 1 } else { 0 };
        let caught_up = complete && self.sent >= self.notified && self.mode == Mode::Fetching { again: false };
        self.mode = if caught_up { Mode::Live } else { Mode::CatchingUp };
    }

    /// Asks for the next page if there is one to read and room for it.
    pub(super) fn next_fetch(&mut self) -> Option<Fetch> {
        if self.mode != Mode::CatchingUp {
            return None;
        }
        let (max_records, max_bytes) = self.room();
        if max_records == 0 || max_bytes == 0 {
            return None;
        }
        self.mode = Mode::Fetching { again: false };
        Some(Fetch {
            from: self.sent,
            max_records,
            max_bytes,
            answered: self.answers.through(),
            answered_beyond: self.answers.beyond().collect(),
            pause: if self.behind > 1 { REFILL_PAUSE } else { Duration::ZERO },
        })
    }

    fn deliver(&mut self, stored: Delivered, actions: &mut Vec<Action>) {
        let position = stored.offset.position_after();
        self.sent = position;
        if self.bounds.window.is_some() {
            self.unacked.push_back(position);
        }
        let record = &stored.record;
        if record.kind.is_terminal() && record.replay_no == 0 && record.origin.outbox == self.outbox {
            self.answers.insert(record.seq);
            if let Some(awaited) = &mut self.awaited {
                awaited.insert(record.seq);
            }
        }
        self.queue.messages += 1;
        self.queue.bytes += record.weight();
        actions.push(Action::Send(ServerFrame::Delivery(stored)));
    }

    /// The client has everything before `position`.
    pub(super) fn acked(&mut self, position: Position) -> Result<(), Close> {
        if position > self.sent {
            let message = format!("field position is {position}; the last delivery sent ends at {}", self.sent);
            return Err(Close::because(Reason::AckBeyondSent, message));
        }
        self.acked = self.acked.max(position);
        while self.unacked.front().is_some_and(|first| *first <= position) {
            self.unacked.pop_front();
        }
        if self.unacked.is_empty() && self.unacked.capacity() > 256 {
            self.unacked = VecDeque::new();
        }
        Ok(())
    }

    /// The partition holds nothing for this client before `position` that was not notified.
    pub(super) fn bookmark(&mut self, position: Position) {
        if self.mode == Mode::Live {
            self.sent = self.sent.max(position);
        }
    }

    /// Whether the outgoing queue is below its bounds.
    pub(super) fn has_room(&self) -> bool {
        self.queue.messages < self.bounds.queue_messages && self.queue.bytes < self.bounds.queue_bytes
    }

    /// A frame that is no delivery goes into the queue.
    pub(super) fn count_control_frame(&mut self) {
        self.queue.messages += 1;
        self.queue.bytes += CONTROL_FRAME_BYTES;
    }

    /// Everything up to this event has its answer.
    pub(super) fn answered(&self) -> u64 {
        self.answers.through()
    }

    /// How full the outgoing queue really is.
    pub(super) fn set_queue(&mut self, queue: Queue) {
        self.queue = queue;
    }

    /// From now on there are no acknowledgements: the transport's flow control is the credit.
    pub(super) fn acks_end(&mut self) {
        self.bounds.window = None;
        self.unacked = VecDeque::new();
    }

    pub(super) fn sent(&self) -> Position {
        self.sent
    }

    pub(super) fn acked_position(&self) -> Position {
        self.acked
    }

    /// Whether everything that was notified has been sent.
    pub(super) fn is_live(&self) -> bool {
        self.mode == Mode::Live
    }
}
