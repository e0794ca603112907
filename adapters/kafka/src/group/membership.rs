//! The client that takes part in the group. It is assigned nothing, so that it reads nothing: another client does.
//!
//! librdkafka tells of a rebalance and waits for the answer, in the meantime the group waits too. What it tells is put on
//! a list here, and answered by the member's thread: an assignment at once, a revocation when the partitions were released.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nimbus_core::{
    Partition, Position,
    ports::log::{Committed, LogError},
};
use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    topic_partition_list::Offset,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tracing::warn;

use super::{bell::Bell, committer::Committer};
use crate::{blocking::patiently, client::log_line, fault, metrics::Metrics, notes, range::range};

/// What the group tells.
#[derive(Debug)]
pub(super) enum Told {
    Assigned(Vec<Partition>),
    /// `lost`: others may own them already.
    Revoked {
        partitions: Vec<Partition>,
        lost: bool,
    },
    /// A commit has ended.
    Committed(Result<(), RDKafkaErrorCode>),
}

pub(super) struct Ear {
    told: Mutex<VecDeque<Told>>,
    /// How many things were told; whether there was something in a poll that returned nothing.
    count: AtomicU64,
    /// The member leaves: every revocation is answered at once.
    leaving: AtomicBool,
    bell: Bell,
    metrics: Metrics,
}

impl Ear {
    /// A commit has ended.
    pub(super) fn committed(&self, outcome: Result<(), RDKafkaErrorCode>) {
        self.hear(Told::Committed(outcome));
        self.bell.ring();
    }

    fn hear(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push_back(told);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().filter_map(|place| u32::try_from(place.partition()).ok()).map(Partition).collect()
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.metrics.broker_errors.inc();
        warn!(%error, reason, "trouble with a broker or a group");
    }
}

impl ConsumerContext for Ear {
    fn rebalance(&self, client: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Acquire) {
            answer(client, assigned);
            return;
        }
        let partitions = numbers(list);
        self.hear(if assigned {
            Told::Assigned(partitions)
        } else {
            Told::Revoked { partitions, lost: client.assignment_lost() }
        });
    }
}

/// Tells librdkafka that a rebalance was taken note of. The list is empty: nothing was ever assigned to this client.
fn answer(client: &BaseConsumer<Ear>, assigned: bool) {
    let nothing = TopicPartitionList::new();
    let answered = if assigned { client.incremental_assign(&nothing) } else { client.incremental_unassign(&nothing) };
    if let Err(error) = answered {
        warn!(%error, assigned, "a rebalance could not be answered");
    }
}

pub(super) struct Membership {
    client: Arc<BaseConsumer<Ear>>,
    committer: Committer,
    topic: Arc<str>,
}

impl Membership {
    /// Asks to take part in the group.
    pub(super) fn join(
        config: &ClientConfig,
        topic: Arc<str>,
        bell: &Bell,
        metrics: &Metrics,
    ) -> Result<Self, LogError> {
        let ear = Ear {
            told: Mutex::default(),
            count: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            bell: bell.clone(),
            metrics: metrics.clone(),
        };
        let failed = |error| fault::unavailable(&error);
        let mut client: BaseConsumer<Ear> = config.create_with_context(ear).map_err(failed)?;
        let bell = bell.clone();
        client.set_nonempty_callback(move || bell.ring());
        client.subscribe(&[&topic]).map_err(failed)?;
        let client = Arc::new(client);
        Ok(Self { committer: Committer::spawn(Arc::clone(&client))?, client, topic })
    }

    fn ear(&self) -> &Ear {
        self.client.client().context()
    }

    /// Serves the client. `Some`: trouble that its user should hear of.
    pub(super) fn poll(&self) -> Option<LogError> {
        let mut trouble = None;
        loop {
            let before = self.ear().count.load(Ordering::Relaxed);
            match self.client.poll(Duration::ZERO) {
                // It is assigned nothing.
                Some(Ok(_)) => {}
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(code) if fault::is_passing(code) && code != RDKafkaErrorCode::AllBrokersDown => {}
                    _ => trouble = Some(fault::unavailable(&error)),
                },
                None if self.ear().count.load(Ordering::Relaxed) == before => return trouble,
                None => {}
            }
        }
    }

    /// Has librdkafka look at the group. Its thread sleeps for a second when nothing is asked of it, also when a heartbeat is due, and
    /// a member hears with those that others come and go. The answer is of no interest: nothing is assigned to this client.
    pub(super) fn stir(&self) {
        drop(self.client.assignment());
    }

    pub(super) fn told(&self) -> Option<Told> {
        self.ear().told.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn answer(&self, assigned: bool) {
        answer(&self.client, assigned);
    }

    fn list(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, partition.0.cast_signed());
        }
        list
    }

    /// What the group has committed; without a commit the log's start. Blocks.
    pub(super) fn committed(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Committed)>, LogError> {
        let failed = |error| fault::unavailable(&error);
        let list = patiently(|limit| self.client.committed_offsets(self.list(partitions), limit))?;
        let mut found = Vec::with_capacity(partitions.len());
        for place in list.elements() {
            place.error().map_err(failed)?;
            let Ok(partition) = u32::try_from(place.partition()).map(Partition) else { continue };
            let committed = match place.offset() {
                Offset::Offset(offset) => {
                    let position = Position(u64::try_from(offset).unwrap_or(0));
                    let metadata = notes::from_text(place.metadata()).unwrap_or_else(|| {
                        warn!(%partition, %position, "the notes of a commit are not nimbus's, work may be repeated");
                        bytes::Bytes::new()
                    });
                    Committed { position, metadata }
                }
                _ => {
                    let position = range(&self.client, &self.topic, partition)?.start;
                    Committed { position, ..Committed::default() }
                }
            };
            found.push((partition, committed));
        }
        Ok(found)
    }

    /// Sends a commit; how it ended is told.
    pub(super) fn commit(&self, commits: &BTreeMap<Partition, Committed>) -> Result<(), RDKafkaErrorCode> {
        let code = |error: KafkaError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for (partition, committed) in commits {
            let mut place = list.add_partition(&self.topic, partition.0.cast_signed());
            let offset = i64::try_from(committed.position.0).unwrap_or(i64::MAX);
            place.set_offset(Offset::Offset(offset)).map_err(code)?;
            if !committed.metadata.is_empty() {
                place.set_metadata(notes::to_text(&committed.metadata));
            }
        }
        self.committer.commit(list)
    }

    /// Leaves the group. Blocks until the coordinator knows, or does not answer.
    pub(super) fn leave(self, unanswered: bool) {
        self.ear().leaving.store(true, Ordering::Release);
        if unanswered {
            self.answer(false);
        }
        while let Some(told) = self.told() {
            match told {
                Told::Assigned(_) => self.answer(true),
                Told::Revoked { .. } => self.answer(false),
                Told::Committed(_) => {}
            }
        }
        self.committer.end();
        drop(self.client);
    }
}
