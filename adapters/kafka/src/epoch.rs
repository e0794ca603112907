//! Keeps the epoch of the logs where it goes when the topic goes.
//!
//! librdkafka shows no topic ids. But a broker deletes a group's commits of a topic with that topic, so the epoch stands in
//! the notes of a commit of partition 0 of the events topic and of the results topic, by a group that nobody joins. A topic that
//! is made anew alone leaves the other one's word behind, and is noticed by that. A commit of a group without members is forgotten after a while (a week by default); the keeper stores it again long before.

use std::time::Duration;

use nimbus_core::LogEpoch;
use rdkafka::{
    TopicPartitionList,
    consumer::{CommitMode, Consumer},
    topic_partition_list::Offset,
};
use ulid::Ulid;

use crate::{
    KafkaConfig, OpenError,
    blocking::{ASK_LIMIT, patiently_for},
    client::{Asking, why},
};

/// How long a group may be without a coordinator: until the brokers have made the topic that they keep groups in, or a broker
/// that was lost has been replaced.
const COORDINATOR_LIMIT: Duration = Duration::from_secs(15);

/// The group that keeps the epoch.
pub(crate) fn group(config: &KafkaConfig) -> String {
    format!("{}-epoch", config.group_prefix)
}

/// What is kept with each of the two topics that an epoch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    events: Option<LogEpoch>,
    results: Option<LogEpoch>,
}

impl Kept {
    /// The epoch, if both topics have it. `None`: nobody stored one since both were made. It is deleted with the topic, so that a
    /// topic that was made anew has none.
    pub fn epoch(self) -> Option<LogEpoch> {
        self.results.filter(|_| self.events == self.results)
    }

    /// One of the topics is another one than when the epoch was stored: it was made anew, alone, and what the other one
    /// holds belongs to another log.
    pub fn is_torn(self) -> bool {
        self.events != self.results
    }
}

/// What is kept. Blocks.
pub(crate) fn stored(client: &Asking, config: &KafkaConfig) -> Result<Kept, OpenError> {
    let failed = |source| why(client, "read the epoch".to_owned(), source);
    let topics = [&config.topics.events, &config.topics.results];
    let mut list = TopicPartitionList::with_capacity(topics.len());
    for topic in topics {
        list.add_partition(topic, 0);
    }
    let ask = |left: Duration| client.committed_offsets(list.clone(), left.min(ASK_LIMIT));
    let list = patiently_for(COORDINATOR_LIMIT, ask).map_err(failed)?;
    let mut kept = [None; 2];
    for (topic, kept) in topics.iter().zip(&mut kept) {
        let Some(place) = list.find_partition(topic, 0) else { continue };
        place.error().map_err(failed)?;
        if let (Offset::Offset(_), text) = (place.offset(), place.metadata()) {
            let wrong = |_| OpenError::Epoch { group: group(config), found: text.to_owned() };
            *kept = Some(LogEpoch(Ulid::from_string(text).map_err(wrong)?));
        }
    }
    let [events, results] = kept;
    Ok(Kept { events, results })
}

/// Keeps the epoch with both topics, in one commit. Blocks until it is durable.
pub(crate) fn store(client: &Asking, config: &KafkaConfig, epoch: LogEpoch) -> Result<(), OpenError> {
    let failed = |source| why(client, "store the epoch".to_owned(), source);
    let mut list = TopicPartitionList::with_capacity(2);
    for topic in [&config.topics.events, &config.topics.results] {
        let mut place = list.add_partition(topic, 0);
        place.set_offset(Offset::Offset(0)).map_err(failed)?;
        place.set_metadata(epoch.to_string());
    }
    patiently_for(COORDINATOR_LIMIT, |_| client.commit(&list, CommitMode::Sync)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_kept_with_both_topics_or_not_at_all() {
        let (a, b) = (Some(LogEpoch(Ulid(1))), Some(LogEpoch(Ulid(2))));
        let kept = |events, results| Kept { events, results };
        assert_eq!((kept(a, a).epoch(), kept(a, a).is_torn()), (a, false));
        assert_eq!((kept(None, None).epoch(), kept(None, None).is_torn()), (None, false));
        for torn in [kept(None, a), kept(a, None), kept(a, b)] {
            assert_eq!((torn.epoch(), torn.is_torn()), (None, true));
        }
    }
}
