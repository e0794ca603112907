//! The original protocol has no acknowledgements: a result counts as delivered when it was written before a later
//! successful HTTP/2 keepalive (rule 26).
//!
//! The transport keeps no record of its keepalives, but it ends a connection whose keepalive fails: one is sent after an interval in
//! which nothing of the client was read, and has a timeout to be answered. So a stream that is still there an interval plus a timeout
//! after the last thing that its client can have sent before a write was read has heard from its client after that write. When was that
//! last thing read? What the client sent before arrives within the flight time. If nothing is left unread at some moment after that, then
//! it was read before that moment. A stream whose frames are left unread (back-pressure) may still read them long after its client is gone.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::{Now, beat::beat_from};
use crate::Position;

/// Writes closer together than this are remembered as one, so that the memory is bounded. Also how often a stream is looked at that
/// leaves frames unread.
const GRAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct HandedOver {
    flight: Duration,
    delay: Duration,
    /// Everything before this was noted.
    noted: Position,
    /// What was written, oldest first, and when everything has arrived that the client sent before.
    written: VecDeque<(Instant, Position)>,
    /// What was written before the last thing was read that the client can have sent before, and when it has proved to be there since.
    read: VecDeque<(Instant, Position)>,
    /// Frames were unread at the last look: not before this again.
    look_again: Option<Instant>,
}

impl HandedOver {
    /// What a client sent arrives within `flight`; one that is not heard of for `delay` is given up by the transport.
    pub(super) fn new(flight: Duration, delay: Duration) -> Self {
        let (written, read) = (VecDeque::new(), VecDeque::new());
        Self { flight, delay, noted: Position::START, written, read, look_again: None }
    }

    /// Everything before `position` was written by now.
    pub(super) fn note(&mut self, position: Position, now: Now) {
        if position <= self.noted {
            return;
        }
        self.noted = position;
        let arrived = beat_from(now.instant + self.flight, now);
        // A new entry begins a grain after the one before the last began, so that the last one's time, which moves (later
        // than it was is safe), cannot move for ever.
        let settled = self.written.len().checked_sub(2).map(|i| self.written[i].0);
        match self.written.back_mut() {
            Some(last) if settled.is_some_and(|at| arrived < at + GRAIN) => *last = (arrived, position),
            _ => self.written.push_back((arrived, position)),
        }
    }

    /// Everything that had arrived at `at` was read by now.
    pub(super) fn caught_up(&mut self, at: Instant, now: Now) {
        let arrived = self.written.partition_point(|(arrived, _)| *arrived <= at);
        if let Some((_, position)) = self.written.drain(..arrived).next_back() {
            self.read.push_back((beat_from(now.instant + self.delay, now), position));
        }
    }

    /// When [`tick`](Self::tick) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let written =
            self.written.front().map(|(arrived, _)| self.look_again.map_or(*arrived, |look| look.max(*arrived)));
        written.into_iter().chain(self.read.front().map(|(at, _)| *at)).min()
    }

    /// What must have been received by now. After [`caught_up`](Self::caught_up), if that is so.
    pub(super) fn tick(&mut self, now: Now) -> Option<Position> {
        let is_unread = self.written.front().is_some_and(|(arrived, _)| *arrived <= now.instant);
        self.look_again = is_unread.then(|| beat_from(now.instant + GRAIN, now));
        let certain = self.read.partition_point(|(at, _)| *at <= now.instant);
        self.read.drain(..certain).next_back().map(|(_, position)| position)
    }
}
