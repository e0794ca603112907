//! Which events of a stream are answered: a sliding window, pure.

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first answer to an event that was sent.
    First {
        /// No event sent later was answered before, as far as there is an order.
        in_order: bool,
    },
    /// Not the first.
    Duplicate,
    /// To an event that was never sent.
    Unknown,
}

/// Events are numbered from 1; at most `window` lie between the first unanswered one and the last that may be sent.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// The first event that is not answered.
    low: u64,
    highest: u64,
    /// Whether the event with this number modulo the window is answered.
    answered: Vec<bool>,
}

impl Tracker {
    pub(crate) fn new(window: usize) -> Self {
        Self { low: 1, highest: 0, answered: vec![false; window] }
    }

    /// The last event that may be sent.
    pub(crate) const fn allowed(&self) -> u64 {
        self.low - 1 + self.answered.len() as u64
    }

    /// The first event that is not answered.
    pub(crate) const fn low(&self) -> u64 {
        self.low
    }

    /// Events up to `sent` that are not answered.
    pub(crate) fn outstanding(&self, sent: u64) -> u64 {
        let beyond = self.answered.iter().filter(|answered| **answered).count() as u64;
        (sent + 1).saturating_sub(self.low + beyond)
    }

    /// `ordered`: answers like this come in the order of their events.
    pub(crate) fn answer(&mut self, seq: u64, sent: u64, ordered: bool) -> Verdict {
        if seq == 0 || seq > sent {
            return Verdict::Unknown;
        }
        if seq < self.low {
            return Verdict::Duplicate;
        }
        let slot = self.slot(seq);
        if self.answered[slot] {
            return Verdict::Duplicate;
        }
        self.answered[slot] = true;
        let in_order = !ordered || seq > self.highest;
        if ordered {
            self.highest = self.highest.max(seq);
        }
        loop {
            let slot = self.slot(self.low);
            if !self.answered[slot] {
                break;
            }
            self.answered[slot] = false;
            self.low += 1;
        }
        Verdict::First { in_order }
    }

    #[allow(clippy::cast_possible_truncation)]
    const fn slot(&self, seq: u64) -> usize {
        (seq % self.answered.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_first_from_second_and_early_from_late() {
        let mut tracker = Tracker::new(4);
        assert_eq!(tracker.allowed(), 4);
        assert_eq!(tracker.answer(5, 4, true), Verdict::Unknown);
        assert_eq!(tracker.answer(0, 4, true), Verdict::Unknown);
        assert_eq!(tracker.answer(1, 4, true), Verdict::First { in_order: true });
        assert_eq!(tracker.allowed(), 5);
        assert_eq!(tracker.answer(1, 5, true), Verdict::Duplicate);
        assert_eq!(tracker.answer(3, 5, true), Verdict::First { in_order: true });
        assert_eq!(tracker.answer(3, 5, true), Verdict::Duplicate);
        assert_eq!((tracker.allowed(), tracker.outstanding(5)), (5, 3));
        assert_eq!(tracker.answer(2, 5, true), Verdict::First { in_order: false });
        assert_eq!((tracker.allowed(), tracker.low(), tracker.outstanding(5)), (7, 4, 2));
        assert_eq!(tracker.answer(4, 7, true), Verdict::First { in_order: true });
        assert_eq!(tracker.answer(5, 7, true), Verdict::First { in_order: true });
        assert_eq!(tracker.outstanding(5), 0);
    }

    #[test]
    fn what_has_no_order_overtakes() {
        let mut tracker = Tracker::new(4);
        assert_eq!(tracker.answer(3, 4, false), Verdict::First { in_order: true });
        assert_eq!(tracker.answer(1, 4, true), Verdict::First { in_order: true });
        assert_eq!(tracker.answer(4, 4, true), Verdict::First { in_order: true });
        assert_eq!(tracker.answer(2, 4, true), Verdict::First { in_order: false });
        assert_eq!(tracker.answer(2, 4, false), Verdict::Duplicate);
    }

    #[test]
    fn a_window_of_one_is_a_ping_pong() {
        let mut tracker = Tracker::new(1);
        for seq in 1..100 {
            assert_eq!(tracker.allowed(), seq);
            assert_eq!(tracker.answer(seq, seq, true), Verdict::First { in_order: true });
        }
    }
}
