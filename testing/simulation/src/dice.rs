//! One stream of random numbers that follows from the seed.

use std::{sync::Mutex, time::Duration};

use nimbus_core::chance::splitmix;

use crate::lock;

/// A generator. Who draws first gets the first number: the order of draws is part of the run.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<u64>);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// Any number.
    pub(crate) fn number(&self) -> u64 {
        let mut state = lock(&self.0);
        let (next, number) = splitmix(*state);
        *state = next;
        number
    }

    /// A number below `bound`; 0 when that is 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A number from the range, both ends included.
    pub(crate) fn within(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Yes, so many times in a thousand.
    pub(crate) fn per_mille(&self, times: u64) -> bool {
        self.below(1_000) < times
    }

    /// Whole milliseconds, both ends included: the clock knows nothing finer.
    pub(crate) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.within(low, high))
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).unwrap_or(0))
    }
}

/// A number that follows from these alone, whoever asks and when.
pub(crate) fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |state, number| splitmix(state ^ number).1)
}
