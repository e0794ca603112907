//! Moments that timers of many streams share.
//!
//! A timer that fires by itself wakes a thread, and that costs more than what most of them are for: with one each, ten thousand silent
//! streams are hundreds of such wake-ups a second. So whatever may come a little sooner or later comes on a beat.

use tokio::time::{Duration, Instant};

use super::Now;

/// Beats fall on multiples of this, by the wall clock. Short, so that what comes together delays nobody.
const BEAT: Duration = Duration::from_millis(200);

/// The first beat that is not before `at`. `now` is any moment before `at`, as both clocks showed it.
pub(super) fn beat_from(at: Instant, now: Now) -> Instant {
    match past(at, now) {
        Duration::ZERO => at,
        past => at + (BEAT - past),
    }
}

/// The last beat that is not after `at`. `now` as in [`beat_from`].
pub fn beat_until(at: Instant, now: Now) -> Instant {
    at - past(at, now)
}

/// How much of its beat is over at `at`.
fn past(at: Instant, now: Now) -> Duration {
    let unix = Duration::from_millis(now.unix.0) + at.saturating_duration_since(now.instant);
    let nanos = unix.as_nanos() % BEAT.as_nanos();
    u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use crate::clock::UnixMillis;

    use super::*;

    #[test]
    fn beats_are_those_of_the_wall_clock() {
        let instant = Instant::now();
        let millis = Duration::from_millis;
        for (unix, wait, since, after) in [
            (0, 25_000, 0, 25_000),
            (1_001, 25_000, 1, 25_199),
            (1_199, 25_000, 199, 25_001),
            (1_200, 25_000, 0, 25_000),
            (107, 30, 137, 93),
            (207, 30, 37, 193),
        ] {
            let now = Now { instant, unix: UnixMillis(unix) };
            let at = instant + millis(wait);
            assert_eq!(beat_from(at, now) - instant, millis(after), "{unix}");
            assert_eq!(at - beat_until(at, now), millis(since), "{unix}");
        }
    }
}
