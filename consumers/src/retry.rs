//! How long to wait before the next try: exponential, capped, jittered. Pure.

use std::time::Duration;

use nimbus_core::chance;

/// A schedule of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, before jitter.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
}

impl Backoff {
    /// The wait after failure number `failures` (from 1), given a random number in `0.0..1.0`.
    ///
    /// Doubles with every failure up to `max`; the jitter takes away up to half, so that what failed together does not
    /// come back together, and yet no wait is close to zero.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// The same with a random number of its own.
    pub(crate) fn jittered(&self, failures: u32) -> Duration {
        self.delay(failures, chance::fraction())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(10) };

    #[test]
    fn doubles_up_to_the_cap() {
        let waits: Vec<u128> = (1..=9).map(|failures| BACKOFF.delay(failures, 0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_the_whole(failures: u32, random in 0.0..1.0, base_ms in 0u64..100_000) {
            let backoff = Backoff { base: Duration::from_millis(base_ms), max: Duration::from_secs(10) };
            let whole = backoff.delay(failures, 0.0);
            let wait = backoff.delay(failures, random);
            prop_assert!(whole <= backoff.max);
            prop_assert!(wait <= whole && wait >= whole / 2);
        }
    }
}
