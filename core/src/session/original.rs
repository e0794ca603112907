//! The original protocol has no acknowledgements: a result counts as delivered when its client was there after it was written
//! (rule 26).
//!
//! What shows that is anything that comes from the client's connection later than what it had sent before the write can come: then it was
//! sent after. A client that says nothing has its HTTP/2 keepalives to answer. How long something can be on its way, and wait to be taken
//! out of the connection here, is assumed and not known: the flight time.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::{Now, beat::beat_from};
use crate::Position;

/// Of writes closer together than this two are remembered.
const GRAIN: Duration = Duration::from_secs(1);

/// So many are remembered at most, of a minute: a client that is there is heard of more often. More are remembered as one with the last.
const MOST: usize = 128;

#[derive(Debug)]
pub(super) struct HandedOver {
    flight: Duration,
    /// Everything before this was noted.
    noted: Position,
    /// What was written, oldest first, and when everything has come that the client sent before.
    writes: VecDeque<(Instant, Position)>,
    /// When the client was last heard of.
    heard: Option<Instant>,
    /// It had not been heard of at the last look: not before this again.
    look_again: Option<Instant>,
}

impl HandedOver {
    pub(super) fn new(flight: Duration) -> Self {
        Self { flight, noted: Position::START, writes: VecDeque::new(), heard: None, look_again: None }
    }

    /// Everything before `position` was written by now.
    pub(super) fn note(&mut self, position: Position, now: Now) {
        if position <= self.noted {
            return;
        }
        self.noted = position;
        let come = beat_from(now.instant + self.flight, now);
        // A new entry begins a grain after the one before the last began, so that the last one's time, which moves (later
        // than it was is safe), cannot move for ever.
        let settled = self.writes.len().checked_sub(2).map(|i| self.writes[i].0);
        let is_full = self.writes.len() >= MOST;
        match self.writes.back_mut() {
            Some(last) if is_full || settled.is_some_and(|at| come < at + GRAIN) => *last = (come, position),
            _ => self.writes.push_back((come, position)),
        }
    }

    /// Something came from the client at `at`.
    pub(super) fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(Some(at));
    }

    /// When [`tick`](Self::tick) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (come, _) = self.writes.front()?;
        Some(self.look_again.map_or(*come, |look| look.max(*come)))
    }

    /// What must have been received by now. After [`heard`](Self::heard).
    pub(super) fn tick(&mut self, now: Now) -> Option<Position> {
        let certain = self.writes.partition_point(|(come, _)| self.heard.is_some_and(|heard| heard >= *come));
        let position = self.writes.drain(..certain).next_back().map(|(_, position)| position);
        let is_silent = self.writes.front().is_some_and(|(come, _)| *come <= now.instant);
        self.look_again = is_silent.then(|| beat_from(now.instant + self.flight, now));
        position
    }
}
