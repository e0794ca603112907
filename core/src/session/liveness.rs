//! Is the client still there: pings, and how long silence may last.

use tokio::time::{Duration, Instant};

use super::{Now, beat::beat_from, limits::Limits};

/// What a tick means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    Ping,
    Dead,
}

#[derive(Debug)]
pub(super) struct Liveness {
    interval: Duration,
    timeout: Duration,
    /// When the next ping is due: at least an interval after the last, and on a beat.
    ping_at: Instant,
    /// Something must be heard before this, if a ping is out.
    dead_at: Option<Instant>,
    /// A half-closed client cannot answer: HTTP/2 keepalive watches it instead (rule 25).
    can_answer: bool,
}

impl Liveness {
    pub(super) fn new(limits: &Limits, now: Now) -> Self {
        Self {
            interval: limits.ping_interval,
            timeout: limits.pong_timeout,
            ping_at: beat_from(now.instant + limits.ping_interval, now),
            dead_at: None,
            can_answer: true,
        }
    }

    /// Any frame shows that the client is there.
    pub(super) fn heard(&mut self) {
        self.dead_at = None;
    }

    pub(super) fn half_closed(&mut self) {
        self.can_answer = false;
        self.dead_at = None;
    }

    pub(super) fn deadline(&self) -> Instant {
        self.dead_at.map_or(self.ping_at, |dead_at| dead_at.min(self.ping_at))
    }

    pub(super) fn tick(&mut self, now: Now) -> Verdict {
        if self.dead_at.is_some_and(|dead_at| now.instant >= dead_at) {
            return Verdict::Dead;
        }
        if now.instant < self.ping_at {
            return Verdict::Fine;
        }
        self.ping_at = beat_from(now.instant + self.interval, now);
        if self.can_answer && self.dead_at.is_none() {
            self.dead_at = Some(now.instant + self.timeout);
        }
        Verdict::Ping
    }
}
