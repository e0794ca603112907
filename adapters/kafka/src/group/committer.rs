//! The thread that commits: librdkafka tells how a commit ended only to whoever blocks for it.
//!
//! One request at a time. With the coordinator gone it takes up to the session timeout to fail; records flow meanwhile.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use nimbus_core::ports::log::LogError;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::membership::Ear;

pub(super) struct Committer {
    lists: SyncSender<TopicPartitionList>,
    thread: JoinHandle<()>,
}

fn commit(client: &BaseConsumer<Ear>, list: &TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
    // It works on a copy of the list: an error of one partition comes back as that of the whole call.
    let code = |error: KafkaError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    client.commit(list, CommitMode::Sync).map_err(code)
}

impl Committer {
    pub(super) fn spawn(client: Arc<BaseConsumer<Ear>>) -> Result<Self, LogError> {
        let (lists, list_rx) = sync_channel::<TopicPartitionList>(1);
        let run = move || {
            for list in list_rx {
                let outcome = commit(&client, &list);
                client.client().context().committed(outcome);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-commit".to_owned()).spawn(run);
        Ok(Self { lists, thread: thread.map_err(|error| LogError::Unavailable(error.to_string()))? })
    }

    /// Commits soon. The one before must have ended.
    pub(super) fn commit(&self, list: TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        self.lists.try_send(list).map_err(|_| RDKafkaErrorCode::PreviousInProgress)
    }

    /// Waits for the commit that is on its way, and ends.
    pub(super) fn end(self) {
        drop(self.lists);
        if self.thread.join().is_err() {
            tracing::error!("the committing thread panicked");
        }
    }
}
