//! How far consumer groups got: asked in the name of each group that is known, by a client that never joins it.
//!
//! A broker can be asked for a group's commits only by name. So the groups are those that were joined here, and those that
//! the configuration names.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nimbus_core::{GroupId, Partition, Position, ports::log::LogError};
use rdkafka::{TopicPartitionList, consumer::Consumer, topic_partition_list::Offset};

use crate::{
    KafkaConfig,
    blocking::patiently,
    client::{Asking, asking},
    fault,
    metrics::Metrics,
    topic::Topic,
};

impl KafkaConfig {
    /// A group as the broker knows it. The same name in two logs is two groups.
    pub(crate) fn group_of(&self, topic: Topic, group: &GroupId) -> String {
        format!("{}-{}-{group}", self.group_prefix, topic.label())
    }
}

/// The groups of one topic, each with the client that asks for it once it was needed.
type Groups = BTreeMap<GroupId, Option<Arc<Asking>>>;

#[derive(Debug)]
pub(crate) struct KnownGroups {
    /// By [`Topic::index`].
    groups: [Mutex<GroupsOf>; 3],
}

#[derive(Default)]
struct GroupsOf(Groups);

impl std::fmt::Debug for GroupsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl KnownGroups {
    pub(crate) fn new(known: &[GroupId]) -> Self {
        let groups = || GroupsOf(known.iter().map(|group| (group.clone(), None)).collect());
        Self { groups: [(); 3].map(|()| Mutex::new(groups())) }
    }

    /// From now on this group is known.
    pub(crate) fn add(&self, topic: Topic, group: &GroupId) {
        self.lock(topic).0.entry(group.clone()).or_default();
    }

    fn lock(&self, topic: Topic) -> std::sync::MutexGuard<'_, GroupsOf> {
        self.groups[topic.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the clients. Blocks.
    pub(crate) fn close(&self) {
        for topic in Topic::ALL {
            let clients: Vec<_> = self.lock(topic).0.values_mut().filter_map(Option::take).collect();
            drop(clients);
        }
    }

    /// Serves what has gathered in the clients: log lines, errors.
    pub(crate) fn tend(&self) {
        for topic in Topic::ALL {
            for client in self.lock(topic).0.values().flatten() {
                while client.poll(Duration::ZERO).is_some() {}
            }
        }
    }

    fn client(
        &self,
        config: &KafkaConfig,
        metrics: &Metrics,
        topic: Topic,
        group: &GroupId,
    ) -> Result<Arc<Asking>, LogError> {
        if let Some(Some(client)) = self.lock(topic).0.get(group) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(asking(&config.asking(&config.group_of(topic, group)), metrics)?);
        self.lock(topic).0.insert(group.clone(), Some(Arc::clone(&client)));
        Ok(client)
    }

    /// How far each known group got in one partition; those without a commit are left out. Blocks.
    pub(crate) fn committed(
        &self,
        config: &KafkaConfig,
        metrics: &Metrics,
        topic: Topic,
        partition: Partition,
    ) -> Result<Vec<(GroupId, Position)>, LogError> {
        let names: Vec<GroupId> = self.lock(topic).0.keys().cloned().collect();
        let mut found = Vec::new();
        for group in names {
            let client = self.client(config, metrics, topic, &group)?;
            let mut asked = TopicPartitionList::with_capacity(1);
            asked.add_partition(config.topics.of(topic), partition.0.cast_signed());
            let list = patiently(|limit| client.committed_offsets(asked.clone(), limit))?;
            for place in list.elements() {
                place.error().map_err(|error| fault::unavailable(&error))?;
                if let Offset::Offset(offset) = place.offset()
                    && let Ok(offset) = u64::try_from(offset)
                {
                    found.push((group.clone(), Position(offset)));
                }
            }
        }
        Ok(found)
    }
}
