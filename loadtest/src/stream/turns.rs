//! When the events of an open loop are to be sent: fixed before the first one, whatever the server does. Pure.

const NANOS_PER_SECOND: f64 = 1e9;

/// The turns of one stream, in nanoseconds on the load's clock. Those of all streams together are evenly spaced, one stream
/// after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    begins: u64,
    /// Between two turns of all streams together.
    apart: f64,
    streams: u64,
    number: u64,
}

impl Turns {
    /// `rate`: events a second of all streams together. `number`: which stream, from 0.
    pub(crate) fn new(rate: f64, streams: u64, number: u64, begins: u64) -> Self {
        Self { begins, apart: NANOS_PER_SECOND / rate, streams, number }
    }

    /// The turns of all streams together, as of one.
    pub(crate) fn of_all(rate: f64, begins: u64) -> Self {
        Self::new(rate, 1, 0, begins)
    }

    /// The turn of the event with this number, from 1.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn of(&self, seq: u64) -> u64 {
        let before = (seq - 1).saturating_mul(self.streams).saturating_add(self.number);
        self.begins.saturating_add((before as f64 * self.apart).ceil() as u64)
    }

    /// The last event whose turn has come.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn come(&self, now: u64) -> u64 {
        let Some(since) = now.checked_sub(self.begins) else { return 0 };
        // An estimate, put right by what `of` says, so that the two never contradict each other.
        let mut seq = ((since as f64 / self.apart - self.number as f64) / self.streams as f64).max(0.0) as u64;
        while self.of(seq + 1) <= now {
            seq += 1;
        }
        while seq > 0 && self.of(seq) > now {
            seq -= 1;
        }
        seq
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_take_turns_at_even_distances() {
        let streams = [0, 1, 2, 3].map(|number| Turns::new(1000.0, 4, number, 500));
        assert_eq!(streams.map(|turns| turns.of(1)), [500, 1_000_500, 2_000_500, 3_000_500]);
        assert_eq!(streams.map(|turns| turns.of(2)), [4_000_500, 5_000_500, 6_000_500, 7_000_500]);
        assert_eq!(streams.map(|turns| turns.come(499)), [0; 4]);
        assert_eq!(streams.map(|turns| turns.come(2_000_500)), [1, 1, 1, 0]);
        assert_eq!(streams.map(|turns| turns.come(5_000_499)), [2, 1, 1, 1]);
    }

    proptest! {
        #[test]
        fn a_turn_has_come_from_its_moment_on(
            rate in 0.01..5e6f64,
            streams in 1..5000u64,
            number in 0..5000u64,
            seq in 1..10_000_000u64,
            begins in 0..1_000_000_000_000u64,
        ) {
            let turns = Turns::new(rate, streams, number % streams, begins);
            let at = turns.of(seq);
            prop_assert!(turns.come(at) >= seq);
            prop_assert!(at == 0 || turns.come(at - 1) < seq);
            let all = Turns::of_all(rate, begins);
            prop_assert_eq!(all.of((seq - 1) * streams + number % streams + 1), at);
        }
    }
}
