//! How long a write waits for the answers to its own events.
//!
//! An executor that answers at once does so within some hundred microseconds, which is less than the fsync that its answer would
//! need otherwise. One that takes longer must not hold up the others' events, so waiting that was in vain is not repeated
//! soon.

use std::time::Duration;

/// After waiting in vain again and again, so many writes go without at most.
const MOST_WITHOUT: u32 = 255;

/// Whether the next write waits.
#[derive(Debug)]
pub(crate) struct Patience {
    /// At most so long.
    longest: Duration,
    /// So many writes do not.
    without: u32,
    /// How many that were after it was in vain last.
    penalty: u32,
}

impl Patience {
    /// Of a writer that waits at most `longest`; not at all if that is nothing.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, without: 0, penalty: 0 }
    }

    /// How long this write waits, if it does. Then [`end`](Self::end) is to follow.
    pub(crate) fn begin(&mut self) -> Option<Duration> {
        if self.longest.is_zero() {
            return None;
        }
        if self.without == 0 {
            return Some(self.longest);
        }
        self.without -= 1;
        None
    }

    /// Whether the answers came.
    pub(crate) fn end(&mut self, came: bool) {
        self.penalty = if came { 0 } else { (2 * self.penalty + 1).min(MOST_WITHOUT) };
        self.without = self.penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_in_vain_is_repeated_more_and_more_rarely_and_one_success_forgives_all() {
        let mut patience = Patience::new(Duration::from_micros(1));
        let mut waits = 0;
        for _ in 0..10_000 {
            if patience.begin().is_some() {
                waits += 1;
                patience.end(false);
            }
        }
        assert!((8 + 30..8 + 40).contains(&waits), "{waits}: eight while it doubles, then each 256th");
        while patience.begin().is_none() {}
        patience.end(true);
        assert!(patience.begin().is_some());
        assert!(Patience::new(Duration::ZERO).begin().is_none());
    }
}
