//! A set of sequence numbers that is nearly always "everything up to n": few ranges, whatever its size.

use std::collections::BTreeMap;

/// Numbers from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeqSet {
    /// Everything up to here is in the set.
    through: u64,
    /// First to last (inclusive) of each range above `through + 1`, never touching one another.
    beyond: BTreeMap<u64, u64>,
    /// How many numbers `beyond` holds.
    beyond_len: u64,
}

impl SeqSet {
    /// Everything up to here is in the set.
    pub(crate) const fn through(&self) -> u64 {
        self.through
    }

    pub(crate) const fn len(&self) -> u64 {
        self.through + self.beyond_len
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        seq <= self.through || self.beyond.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last)
    }

    /// Adds one number; `false` when it was in the set.
    pub(crate) fn insert(&mut self, seq: u64) -> bool {
        if seq == self.through + 1 {
            // The usual case: answers in order.
            self.through = seq;
            self.absorb();
            return true;
        }
        if self.contains(seq) {
            return false;
        }
        let mut first = seq;
        let mut last = seq;
        if let Some((before, end)) = self.beyond.range(..seq).next_back()
            && end + 1 == seq
        {
            first = *before;
        }
        if let Some(end) = self.beyond.remove(&(seq + 1)) {
            last = end;
        }
        self.beyond.insert(first, last);
        self.beyond_len += 1;
        true
    }

    /// Adds `first..=last`.
    pub(crate) fn insert_range(&mut self, first: u64, last: u64) {
        if first <= self.through + 1 {
            self.through = self.through.max(last);
            self.absorb();
        } else {
            for seq in first..=last {
                self.insert(seq);
            }
        }
    }

    /// Ranges of the set as (first, last), ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let low = (self.through > 0).then_some((1, self.through));
        low.into_iter().chain(self.beyond.iter().map(|(first, last)| (*first, *last)))
    }

    /// Numbers of the set above [`through`](Self::through), ascending.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = u64> {
        self.beyond.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Numbers up to `limit` that are not in the set, ascending.
    pub(crate) fn missing_through(&self, limit: u64) -> impl Iterator<Item = u64> {
        let starts = std::iter::once(self.through + 1).chain(self.beyond.values().map(|last| last + 1));
        let ends = self.beyond.keys().map(|first| first - 1).chain(std::iter::once(u64::MAX));
        starts.zip(ends).flat_map(move |(start, end)| start..=end.min(limit))
    }

    fn absorb(&mut self) {
        while let Some(entry) = self.beyond.first_entry() {
            let (first, last) = (*entry.key(), *entry.get());
            if first > self.through + 1 {
                break;
            }
            entry.remove();
            self.beyond_len -= last - first + 1;
            self.through = self.through.max(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(ops in prop::collection::vec((1u64..60, 0u64..5), 0..80), limit in 0u64..70) {
            let mut set = SeqSet::default();
            let mut model = BTreeSet::new();
            for (seq, more) in ops {
                if more == 0 {
                    prop_assert_eq!(set.insert(seq), model.insert(seq));
                } else {
                    set.insert_range(seq, seq + more);
                    model.extend(seq..=seq + more);
                }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            let through = (1..).find(|n| !model.contains(n)).unwrap() - 1;
            prop_assert_eq!(set.through(), through);
            let all: BTreeSet<u64> = set.ranges().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&all, &model);
            let beyond: Vec<u64> = model.iter().copied().filter(|n| *n > through).collect();
            prop_assert_eq!(set.beyond().collect::<Vec<_>>(), beyond);
            let missing: Vec<u64> = (1..=limit).filter(|n| !model.contains(n)).collect();
            prop_assert_eq!(set.missing_through(limit).collect::<Vec<_>>(), missing);
            for seq in 1..70 {
                prop_assert_eq!(set.contains(seq), model.contains(&seq));
            }
        }
    }
}
