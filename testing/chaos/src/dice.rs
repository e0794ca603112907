//! Seeded numbers that are the same on every machine and with every version of every dependency: a seed names a plan for good.
//! SplitMix64, in ten lines; nothing here needs to be unpredictable.

use std::time::Duration;

/// Throws that a seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0. The bias is far below what anybody could notice.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From `least` to `most`, in milliseconds.
    pub(crate) fn duration(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_millis()).unwrap_or(u64::MAX - 1);
        least + Duration::from_millis(self.below(span + 1))
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_its_numbers_for_good() {
        let mut dice = Dice::new(1);
        assert_eq!([dice.next(), dice.next()], [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67]);
    }

    #[test]
    fn durations_stay_within_their_bounds_and_reach_both() {
        let mut dice = Dice::new(7);
        let [least, most] = [3, 5].map(Duration::from_millis);
        let thrown: std::collections::BTreeSet<_> = (0..100).map(|_| dice.duration(least, most)).collect();
        assert_eq!(thrown.into_iter().collect::<Vec<_>>(), [3, 4, 5].map(Duration::from_millis));
    }
}
