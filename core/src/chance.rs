//! Chance: random numbers of this process, and hash states with random keys.
//!
//! Everything in Nimbus that is left to chance and has a say in what happens (jitter, the order of a drain, ids of sessions,
//! the order in which a map is walked) draws it here, so that a simulation can seed its thread and see the same run again.
//! Otherwise the numbers come from the operating system, by way of the standard library's hash keys: client ids are chosen by
//! strangers, who must not be able to tell which of them collide.
//!
//! Not for secrets: tokens that nobody may guess are made where they are kept, by a generator that is meant for it.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
    marker::PhantomData,
};

use ulid::Ulid;

use crate::clock::UnixMillis;

/// A map whose order of iteration is left to chance.
pub type HashMap<K, V> = std::collections::HashMap<K, V, HashState>;
/// A set like it.
pub type HashSet<K> = std::collections::HashSet<K, HashState>;

thread_local! {
    /// The state of the generator, while this thread is seeded.
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// One step of splitmix64: a new state, and a number well mixed from it.
pub const fn splitmix(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, bits ^ (bits >> 31))
}

/// Any number.
pub fn number() -> u64 {
    let Some(state) = SEEDED.get() else { return RandomState::new().build_hasher().finish() };
    let (state, number) = splitmix(state);
    SEEDED.set(Some(state));
    number
}

/// A number in `0.0..1.0`.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
pub fn fraction() -> f64 {
    (number() >> 11) as f64 / (1u64 << 53) as f64
}

/// Brings items into any order.
pub fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = number() % (last as u64 + 1);
        items.swap(last, usize::try_from(other).unwrap_or(last));
    }
}

/// A fresh id of this moment.
pub fn ulid(now: UnixMillis) -> Ulid {
    Ulid::from_parts(now.0, (u128::from(number()) << 64) | u128::from(number()))
}

/// Seeds this thread for a simulation, until the guard is dropped.
#[must_use]
pub fn seed(seed: u64) -> Seeded {
    Seeded { before: SEEDED.replace(Some(seed)), thread: PhantomData }
}

/// While it lives, everything that this thread leaves to chance follows from the seed.
#[derive(Debug)]
pub struct Seeded {
    before: Option<u64>,
    /// It concerns the thread that made it.
    thread: PhantomData<*const ()>,
}

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(self.before);
    }
}

/// A quick hasher with random keys; with keys that follow from the seed in a thread that has one.
#[derive(Debug, Clone)]
pub struct HashState(ahash::RandomState);

impl Default for HashState {
    fn default() -> Self {
        Self(ahash::RandomState::with_seeds(number(), number(), number(), number()))
    }
}

impl BuildHasher for HashState {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> ahash::AHasher {
        self.0.build_hasher()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever can be drawn.
    fn draw() -> (Vec<u64>, Vec<u32>, u64, Ulid) {
        let mut order: Vec<u32> = (0..50).collect();
        shuffle(&mut order);
        ((0..10).map(|_| number()).collect(), order, HashState::default().hash_one("a"), ulid(UnixMillis(7)))
    }

    #[test]
    fn a_seed_decides_everything_and_only_while_it_is_held() {
        let first = {
            let _seeded = seed(42);
            draw()
        };
        let again = {
            let _seeded = seed(42);
            draw()
        };
        assert_eq!(first, again);
        let other = {
            let _seeded = seed(43);
            draw()
        };
        assert_ne!(first, other);
        assert_ne!(draw(), draw(), "without a seed no two draws are alike");
    }

    #[test]
    fn hash_keys_are_unpredictable_without_a_seed() {
        let hashes: std::collections::HashSet<u64> = (0..100).map(|_| HashState::default().hash_one("a")).collect();
        assert_eq!(hashes.len(), 100);
    }

    #[test]
    fn fractions_lie_in_their_range_and_a_shuffle_loses_nothing() {
        assert!((0..10_000).map(|_| fraction()).all(|fraction| (0.0..1.0).contains(&fraction)));
        let mut order: Vec<u32> = (0..1_000).collect();
        shuffle(&mut order);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert_eq!(order, (0..1_000).collect::<Vec<_>>());
    }
}
