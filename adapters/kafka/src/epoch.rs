//! Keeps the epoch of the logs where it goes when the topic goes.
//!
//! librdkafka shows no topic ids. But a broker deletes a group's commits of a topic with that topic, so the epoch stands in
//! the notes of a commit of partition 0 of the results topic, by a group that nobody joins. A commit of a group without
//! members is forgotten after a while (a week by default); the keeper stores it again long before.

use nimbus_core::LogEpoch;
use rdkafka::{
    TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::KafkaError,
    topic_partition_list::Offset,
};
use ulid::Ulid;

use crate::{KafkaConfig, OpenError, blocking::ASK_LIMIT, client::Asking};

/// The group that keeps the epoch.
pub(crate) fn group(config: &KafkaConfig) -> String {
    format!("{}-epoch", config.group_prefix)
}

fn unreachable(doing: &str, source: KafkaError) -> OpenError {
    OpenError::Unreachable { doing: doing.to_owned(), source }
}

/// The epoch that is kept, if one is. Blocks.
pub(crate) fn stored(client: &Asking, config: &KafkaConfig) -> Result<Option<LogEpoch>, OpenError> {
    let failed = |source| unreachable("read the epoch", source);
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&config.topics.results, 0);
    let list = client.committed_offsets(list, ASK_LIMIT).map_err(failed)?;
    let places = list.elements();
    let Some(place) = places.first() else { return Ok(None) };
    place.error().map_err(failed)?;
    match (place.offset(), place.metadata()) {
        (Offset::Offset(_), text) => match Ulid::from_string(text) {
            Ok(epoch) => Ok(Some(LogEpoch(epoch))),
            Err(_) => Err(OpenError::Epoch { group: group(config), found: text.to_owned() }),
        },
        _ => Ok(None),
    }
}

/// Keeps the epoch. Blocks until it is durable.
pub(crate) fn store(client: &Asking, config: &KafkaConfig, epoch: LogEpoch) -> Result<(), OpenError> {
    let failed = |source| unreachable("store the epoch", source);
    let mut list = TopicPartitionList::with_capacity(1);
    let mut place = list.add_partition(&config.topics.results, 0);
    place.set_offset(Offset::Offset(0)).map_err(failed)?;
    place.set_metadata(epoch.to_string());
    client.commit(&list, CommitMode::Sync).map_err(failed)?;
    Ok(())
}
