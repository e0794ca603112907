//! Which events of one outbox have their terminal answer: a contiguous prefix and a few beyond it.

use std::collections::BTreeSet;

/// The answered events of one outbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    through: u64,
    beyond: BTreeSet<u64>,
}

impl Answers {
    /// Everything up to `through`, and `beyond`.
    pub fn new(through: u64, beyond: impl IntoIterator<Item = u64>) -> Self {
        let mut answers = Self { through, beyond: BTreeSet::new() };
        for seq in beyond {
            answers.insert(seq);
        }
        answers
    }

    /// Notes one more; false when it was known.
    pub fn insert(&mut self, seq: u64) -> bool {
        if seq <= self.through {
            return false;
        }
        if seq == self.through + 1 {
            self.through = seq;
            while self.beyond.first().is_some_and(|next| *next == self.through + 1) {
                self.beyond.pop_first();
                self.through += 1;
            }
            return true;
        }
        self.beyond.insert(seq)
    }

    /// Everything up to this is answered.
    pub const fn through(&self) -> u64 {
        self.through
    }

    /// What else is answered, ascending.
    pub fn beyond(&self) -> impl Iterator<Item = u64> + '_ {
        self.beyond.iter().copied()
    }

    /// Whether one event is answered.
    pub fn contain(&self, seq: u64) -> bool {
        seq <= self.through || self.beyond.contains(&seq)
    }

    /// Whether everything up to `seq` is answered.
    pub fn cover(&self, seq: u64) -> bool {
        self.through >= seq
    }

    /// Gives up waiting for everything up to `seq`.
    pub fn forgive(&mut self, seq: u64) {
        if seq > self.through {
            self.through = seq;
            self.beyond = self.beyond.split_off(&(seq + 1));
            while self.beyond.first().is_some_and(|next| *next == self.through + 1) {
                self.beyond.pop_first();
                self.through += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(start in 0u64..5, seqs in prop::collection::vec(1u64..40, 0..60), forgive in 0u64..40) {
            let mut answers = Answers::new(start, []);
            let mut model: BTreeSet<u64> = (1..=start).collect();
            for (i, seq) in seqs.iter().enumerate() {
                if i == seqs.len() / 2 {
                    answers.forgive(forgive);
                    model.extend(1..=forgive);
                }
                prop_assert_eq!(answers.contain(*seq), model.contains(seq));
                prop_assert_eq!(answers.insert(*seq), model.insert(*seq));
                let through = (1..).find(|n| !model.contains(n)).expect("the set is finite") - 1;
                prop_assert_eq!(answers.through(), through);
                let beyond: Vec<u64> = model.iter().copied().filter(|n| *n > through).collect();
                prop_assert_eq!(answers.beyond().collect::<Vec<_>>(), beyond);
            }
        }
    }
}
