//! Is the client still there: pings, and how long silence may last.

use tokio::time::{Duration, Instant};

use super::{Now, limits::Limits};

/// Pings of all sessions fall on multiples of this, by the wall clock: those of one moment share a wake-up of the server, which
/// costs more than a ping does. Short, so that what they take together delays nobody.
const BEAT: Duration = Duration::from_millis(200);

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
    /// When the next ping is due.
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
            ping_at: on_the_beat(limits.ping_interval, now),
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
        self.ping_at = on_the_beat(self.interval, now);
        if self.can_answer && self.dead_at.is_none() {
            self.dead_at = Some(now.instant + self.timeout);
        }
        Verdict::Ping
    }
}

/// The first beat that is at least `interval` away.
fn on_the_beat(interval: Duration, now: Now) -> Instant {
    let beat = BEAT.as_millis();
    let past = (u128::from(now.unix.0) + interval.as_millis()) % beat;
    let rest = u64::try_from((beat - past) % beat).unwrap_or(0);
    now.instant + interval + Duration::from_millis(rest)
}

#[cfg(test)]
mod tests {
    use crate::clock::UnixMillis;

    use super::*;

    #[test]
    fn pings_are_at_least_an_interval_apart_and_fall_on_the_beats_of_all() {
        let instant = Instant::now();
        for (unix, rest) in [(0, 0), (1_000, 0), (1_001, 199), (1_199, 1), (1_200, 0)] {
            let at = on_the_beat(Duration::from_secs(25), Now { instant, unix: UnixMillis(unix) });
            assert_eq!(at - instant, Duration::from_millis(25_000 + rest), "{unix}");
        }
        let at = on_the_beat(Duration::from_millis(30), Now { instant, unix: UnixMillis(7) });
        assert_eq!(at - instant, Duration::from_millis(193), "an interval that is no multiple of a beat");
    }
}
