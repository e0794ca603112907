//! How large a record of each topic may be: as the topics say, and no more than the settings do.
//!
//! Known from the start on, so that what is too large is refused before anything is sent. Whoever lowers a topic's limit later is noticed
//! by the broker's refusal; then the topics are asked again.

use std::sync::atomic::{AtomicUsize, Ordering};

use nimbus_core::ports::log::TooLarge;

use crate::topic::Topic;

/// The largest record of each topic, as the broker counts it.
#[derive(Debug)]
pub(crate) struct Sizes([AtomicUsize; 3]);

impl Sizes {
    /// By [`Topic::index`].
    pub(crate) fn new(most: [usize; 3]) -> Self {
        Self(most.map(AtomicUsize::new))
    }

    pub(crate) fn set(&self, most: [usize; 3]) {
        for (size, most) in self.0.iter().zip(most) {
            size.store(most, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> [usize; 3] {
        [0, 1, 2].map(|index: usize| self.0[index].load(Ordering::Relaxed))
    }

    /// Whether a topic takes a record of so many bytes.
    pub(crate) fn check(&self, topic: Topic, bytes: usize) -> Result<(), TooLarge> {
        let most = self.0[topic.index()].load(Ordering::Relaxed);
        if bytes > most { Err(TooLarge { bytes, most }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_a_limit_of_its_own_which_may_change() {
        let sizes = Sizes::new([100, 50, 200]);
        sizes.check(Topic::Events, 100).unwrap();
        assert_eq!(sizes.check(Topic::Results, 51), Err(TooLarge { bytes: 51, most: 50 }));
        sizes.set([10, 60, 200]);
        assert!(sizes.check(Topic::Events, 100).is_err());
        sizes.check(Topic::Results, 51).unwrap();
        assert_eq!(sizes.get(), [10, 60, 200]);
    }
}
