//! The client's side: what the SDK has handed over, and from which stream it hears.

use crate::{
    bug::Bug,
    ids::{Position, SessionId},
    log::Record,
};

/// Something happened that must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A result of another client came.
    WrongClient,
    /// An answer was handed over a second time.
    Twice,
    /// An answer was handed over after a later one.
    OutOfOrder,
    /// A session that holds no client, or a router that was overtaken, changed shared state.
    StaleWrite,
    /// The newest session of a client was told that it is not.
    NewestTurnedAway,
}

/// One client with its SDK. It acknowledges what it is handed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// The newest session number it used.
    pub no: u8,
    /// Whether that session's stream stands, as far as the client can tell.
    pub connected: bool,
    /// It has everything before this; `None` before its first Welcome.
    pub position: Option<Position>,
    /// What lies before this and did not come was announced as a GAP, or is older than the outbox.
    pub excused: Position,
    /// Up to where the last GAP went.
    pub gap_to: Option<Position>,
    /// Answers handed over, by event.
    handed: u8,
    /// Answers whose loss a GAP announced.
    unknown: u8,
}

const fn bit(seq: u8) -> u8 {
    1 << seq
}

impl Device {
    /// Whether an event has its outcome.
    pub const fn is_settled(&self, seq: u8) -> bool {
        (self.handed | self.unknown) & bit(seq) != 0
    }

    /// Whether the answer itself came.
    pub const fn was_handed(&self, seq: u8) -> bool {
        self.handed & bit(seq) != 0
    }

    /// Every event up to this has its outcome.
    pub const fn answered(&self) -> u8 {
        ((self.handed | self.unknown | 1).trailing_ones() - 1) as u8
    }

    /// Welcomed by its newest session, for the first time at `position`.
    pub fn welcomed(&mut self, position: Position) {
        if self.position.is_none() {
            self.excused = position;
        }
        self.position.get_or_insert(position);
    }

    /// What lies before `to` is gone; an answer that was in it will not come.
    pub fn gap(&mut self, to: Position, lost: impl Iterator<Item = u8>) {
        if self.position.is_some_and(|position| to > position) {
            self.excused = to;
            self.gap_to = Some(to);
            self.position = Some(to);
            let handed = self.handed;
            lost.filter(|seq| handed & bit(*seq) == 0).for_each(|seq| self.unknown |= bit(seq));
        }
    }

    /// A delivery came over the stream of `session`.
    pub fn delivered(&mut self, session: SessionId, offset: u8, record: Record, bug: Option<Bug>) -> Option<Breach> {
        let takes_everything = bug == Some(Bug::SdkTakesEverything);
        if (session.no != self.no || !self.connected) && !takes_everything {
            return None;
        }
        if record.client != session.client {
            return Some(Breach::WrongClient);
        }
        if self.position.is_some_and(|position| offset < position) && !takes_everything {
            return None;
        }
        self.position = self.position.max(Some(offset + 1));
        if self.is_settled(record.seq) && !takes_everything {
            return None;
        }
        let twice = self.was_handed(record.seq);
        let later = self.handed >> record.seq > 1;
        self.handed |= bit(record.seq);
        match (twice, later) {
            (true, _) => Some(Breach::Twice),
            (false, true) => Some(Breach::OutOfOrder),
            (false, false) => None,
        }
    }

    /// "Everything before this is yours."
    pub fn bookmark(&mut self, session: SessionId, position: Position) {
        if session.no == self.no && self.connected {
            self.position = self.position.max(Some(position));
        }
    }
}
