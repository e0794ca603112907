//! One session on its server: the steps of its opening, then `nimbus_core::session`'s downstream half.
//!
//! `tests/session.rs` holds [`Downstream`] against the real machine. Left out: credit and queue bounds (a client that is slow
//! falls back to reading, as after a miss), the upstream half, the original protocol.

use crate::{
    bug::Bug,
    ids::{Position, Server, SessionId},
    log::{Log, Offsets},
};

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fetched {
    /// In order.
    pub records: Offsets,
    /// Complete up to here.
    pub through: Position,
    /// Nothing was held back.
    pub complete: bool,
}

/// What the session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A read is out.
    Fetching {
        /// Something may have been missed since.
        again: bool,
        /// The mailbox has answered, and the session does not know yet.
        answer: Option<Fetched>,
    },
    /// Sending what it is notified of.
    Live,
}

/// The downstream half of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Downstream {
    /// What it is doing.
    pub mode: Mode,
    /// Everything before this was sent, or is not for this client.
    pub sent: Position,
    /// The end of the newest notification.
    pub notified: Position,
    /// Every event up to this has its answer, as the client said and as was sent since.
    pub answered: u8,
    /// The bookmark that the server raised while this session was live. What was raised before does not count: a Redis that
    /// has lost its tail since may have taken back what it was about, before the session read it.
    pub bookmark: Position,
}

impl Downstream {
    /// Begins with a read.
    pub const fn new(from: Position, answered: u8) -> Self {
        Self { mode: Mode::Fetching { again: false, answer: None }, sent: from, notified: from, answered, bookmark: 0 }
    }

    /// Results came live. Returns what is sent.
    pub fn notified(&mut self, records: Offsets, log: &Log) -> Offsets {
        self.notified = self.notified.max(records.end());
        if self.mode != Mode::Live {
            return Offsets::default();
        }
        let sent = records.from(self.sent);
        self.deliver(sent, log);
        self.forget();
        sent
    }

    /// Notifications may be missing.
    pub fn missed(&mut self, bug: Option<Bug>) {
        self.mode = match self.mode {
            Mode::Live => {
                self.bookmark = 0;
                Mode::Fetching { again: false, answer: None }
            }
            Mode::Fetching { answer, .. } => {
                Mode::Fetching { again: bug != Some(Bug::MissedWhileReadingForgotten), answer }
            }
        };
    }

    /// A read is back. Returns what is sent.
    pub fn fetched(&mut self, page: Fetched, log: &Log, bug: Option<Bug>) -> Offsets {
        let mut sent = Offsets::default();
        let unknown = |offset: &u8| log.at(*offset).seq > self.answered;
        page.records.from(self.sent).iter().filter(unknown).for_each(|offset| sent.insert(offset));
        self.deliver(sent, log);
        self.sent = self.sent.max(page.through);
        let again = matches!(self.mode, Mode::Fetching { again: true, .. });
        let is_past_notified = self.sent >= self.notified || bug == Some(Bug::LiveWithoutHighestNotified);
        self.mode = match page.complete && is_past_notified && !again {
            true => Mode::Live,
            false => Mode::Fetching { again: false, answer: None },
        };
        self.forget();
        sent
    }

    /// What was notified and is sent by now makes no difference any more: fewer states.
    fn forget(&mut self) {
        self.notified = self.notified.max(self.sent);
        if self.bookmark <= self.sent {
            self.bookmark = 0;
        }
    }

    /// The partition holds nothing for this client before `position` that was not notified.
    pub fn bookmark(&mut self, position: Position) {
        if self.mode == Mode::Live {
            self.sent = self.sent.max(position);
            self.forget();
        }
    }

    fn deliver(&mut self, offsets: Offsets, log: &Log) {
        self.sent = self.sent.max(offsets.end());
        offsets.iter().for_each(|offset| self.answered = self.answered.max(log.at(offset).seq));
    }
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its Hello is being answered.
    Opening {
        /// Notifications may be missing.
        missed: bool,
        /// The end of the newest notification.
        notified: Position,
    },
    /// The client was welcomed and is there.
    Open(Downstream),
    /// The client is gone, or was told to go. What the session still does is give its client up, some time.
    Leaving {
        /// What the client had acknowledged.
        acked: Position,
    },
}

/// One session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Where it lives.
    pub server: Server,
    /// Whether its server's registry knows it.
    pub registered: bool,
    /// Whether its claim was granted.
    pub claimed: bool,
    /// How far it is.
    pub stage: Stage,
    /// Where deliveries are to begin: what the client said, or after the claim where its outbox began.
    pub from: Option<Position>,
    /// Every event up to this was answered when the client said Hello.
    pub answered: u8,
    /// The log, when the session looked: its start and end.
    pub range: (Position, Position),
}

impl Session {
    /// Whether it hears of results: it is known here and its client may still be there.
    pub const fn listens(&self) -> bool {
        self.registered && !matches!(self.stage, Stage::Leaving { .. })
    }
}
