//! The original protocol has no acknowledgements: a result counts as delivered when it was written before a later
//! successful HTTP/2 keepalive (rule 26).
//!
//! The transport keeps no record of its keepalives, but it ends a connection whose keepalive fails. So a stream that is
//! still there one keepalive interval plus timeout after a write has seen a keepalive succeed since.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::{Now, beat::beat_from};
use crate::Position;

/// Writes closer together than this are remembered as one, so that the memory is bounded.
const GRAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct HandedOver {
    delay: Duration,
    /// What was written, oldest first, and when it must have arrived: on a beat.
    writes: VecDeque<(Instant, Position)>,
}

impl HandedOver {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, writes: VecDeque::new() }
    }

    pub(super) fn note(&mut self, position: Position, now: Now) {
        let certain = beat_from(now.instant + self.delay, now);
        // A new entry begins a grain after the one before the last began, so that the last one's time, which moves (later
        // than it was is safe), cannot move for ever.
        let settled = self.writes.len().checked_sub(2).map(|i| self.writes[i].0);
        match self.writes.back_mut() {
            Some(last) if settled.is_some_and(|at| certain < at + GRAIN) => *last = (certain, position),
            _ => self.writes.push_back((certain, position)),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.writes.front().map(|(at, _)| *at)
    }

    /// What must have arrived by now.
    pub(super) fn certain(&mut self, now: Instant) -> Option<Position> {
        let mut certain = None;
        while let Some((at, position)) = self.writes.front().copied() {
            if now < at {
                break;
            }
            certain = Some(position);
            self.writes.pop_front();
        }
        certain
    }
}
