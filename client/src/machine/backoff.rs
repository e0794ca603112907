//! How long to wait before the next attempt: full jitter, from 0.25 s to 30 s.

use std::time::Duration;

/// Upper bound of the first wait.
const FIRST: Duration = Duration::from_millis(250);
/// Upper bound of every wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts attempts and draws waits. Deterministic for one seed.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    random: u64,
}

impl Backoff {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { attempt: 0, random: seed }
    }

    /// A session held: the next loss starts small again.
    pub(crate) const fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The wait before the next attempt, no less than `at_least`. Clients that were told the same `at_least` spread out
    /// behind it.
    pub(crate) fn next(&mut self, at_least: Duration) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.attempt.min(16)).min(LONGEST);
        self.attempt = self.attempt.saturating_add(1);
        at_least + bound.mul_f64(self.unit())
    }

    /// Splitmix64, as a fraction of 1. Its quality is ample for spreading reconnects.
    #[allow(clippy::cast_precision_loss)]
    const fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_obey_the_server() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            for attempt in 0..40u32 {
                let bound = Duration::from_millis(250).saturating_mul(1 << attempt.min(20)).min(LONGEST);
                let wait = backoff.next(Duration::from_secs(7));
                assert!(
                    wait >= Duration::from_secs(7) && wait <= Duration::from_secs(7) + bound,
                    "{attempt}: {wait:?}"
                );
            }
            backoff.reset();
            assert!(backoff.next(Duration::ZERO) <= FIRST);
        }
    }

    #[test]
    fn clients_spread_out() {
        let waits: Vec<_> = (0..1000).map(|seed| Backoff::new(seed).next(Duration::ZERO)).collect();
        let early = waits.iter().filter(|wait| **wait < FIRST / 2).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    }
}
