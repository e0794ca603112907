//! How far partitions are, asked once a second; and whether Redis still is the one it was (rules 16 and 20).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use fred::{
    interfaces::{ClientLike as _, ClusterInterface as _, HashesInterface as _},
    types::{InfoKind, Value},
};
use futures_util::future::try_join_all;
use nimbus_core::{
    Partition, Position, ServerId,
    ports::{mailbox::Head, notifier::Notification},
};

use super::Inner;
use crate::{checks::NodeInfo, error::Failure, link::decimal};

/// What this process remembers of the Redis it knows.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// By partition: which memory it was.
    born: HashMap<Partition, Bytes>,
    /// By node: whom it copies, or who copies it.
    replication: Option<Vec<String>>,
}

impl Memories {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is found first is what is to be expected from now on.
    pub(super) fn first(&self, partition: Partition, born: &Bytes) {
        self.lock().born.entry(partition).or_insert_with(|| born.clone());
    }

    /// Whether this is another Redis, or another memory in it, than before.
    fn differ(&self, born: &[(Partition, Bytes)], replication: &[String]) -> bool {
        let mut known = self.lock();
        let replaced = known.replication.as_ref().is_some_and(|known| known != replication);
        let emptied = born.iter().any(|(partition, born)| known.born.get(partition).is_some_and(|known| known != born));
        if !replaced && !emptied {
            known.replication.get_or_insert_with(|| replication.to_vec());
            for (partition, born) in born {
                known.born.entry(*partition).or_insert_with(|| born.clone());
            }
        }
        replaced || emptied
    }

    fn accept(&self, born: Vec<(Partition, Bytes)>, replication: Vec<String>) {
        let mut known = self.lock();
        known.born.extend(born);
        known.replication = Some(replication);
    }
}

impl Inner {
    pub(super) async fn heads(&self, server: &ServerId, partitions: &[Partition]) -> Result<Vec<Head>, Failure> {
        self.epoch.insist(&self.link).await?;
        self.settle_unsure().await?;
        // First: whoever replaces the node from here on is found the next time.
        let replication = self.replication().await?;
        let found = try_join_all(partitions.iter().map(|partition| self.look(server, *partition))).await?;
        let born: Vec<_> = found.iter().map(|(head, born)| (head.partition, born.clone())).collect();
        if self.memories.differ(&born, &replication) {
            self.link.metrics.losses.inc();
            tracing::error!("redis was emptied or replaced, claiming all clients of this process again");
            // Claim first, then read (rule 18): what is applied from now on is told, what was before is read.
            self.claim_again().await?;
            self.memories.accept(born, replication);
            self.bus.missed();
            // Until the sessions have read, nobody may be told "you have everything".
            return Err(Failure::Unavailable("redis had lost its memory; it is being repaired".to_owned()));
        }
        Ok(found.into_iter().map(|(head, _)| head).collect())
    }

    async fn look(&self, server: &ServerId, partition: Partition) -> Result<(Head, Bytes), Failure> {
        self.check(partition)?;
        let keys = self.keys.partition(partition);
        let (head, notified) = futures_util::join!(
            self.link.quick.hmget::<Vec<Value>, _, _>(keys.head(), vec!["applied", "born"]),
            self.link.quick.hget::<Option<u64>, _, _>(keys.notified(), server.as_str()),
        );
        let (head, notified) = (head?, notified?);
        let applied = head.first().and_then(Value::as_u64);
        let born = head.get(1).and_then(|born| born.as_bytes().map(Bytes::copy_from_slice));
        let (applied, born) = match (applied, born) {
            (Some(applied), Some(born)) => (Position(applied), born),
            _ => {
                let head = self.begin(partition).await?;
                (head.applied, head.born)
            }
        };
        Ok((Head { partition, applied, notified: Position(notified.unwrap_or(0)) }, born))
    }

    async fn replication(&self) -> Result<Vec<String>, Failure> {
        let client = &self.link.quick;
        if !self.link.cluster {
            let info: String = client.info(Some(InfoKind::Replication)).await?;
            return Ok(vec![NodeInfo::parse(&info).replication_id()]);
        }
        let routing = client.cached_cluster_state();
        let mut primaries = routing.map(|routing| routing.unique_primary_nodes()).unwrap_or_default();
        primaries.sort();
        let infos = primaries.into_iter().map(|primary| async move {
            let info: String = client.with_cluster_node(&primary).info(Some(InfoKind::Replication)).await?;
            Ok::<_, Failure>(NodeInfo::parse(&info).replication_id())
        });
        try_join_all(infos).await
    }

    pub(super) async fn skip_to(&self, partition: Partition, start: Position) -> Result<(), Failure> {
        self.check(partition)?;
        let keys = self.keys.partition(partition);
        for _ in 0..super::ATTEMPTS {
            let all = vec![keys.head(), keys.notified()];
            let call = self.link.call(&self.link.bulk, &self.link.scripts.skip, all, vec![decimal(start.0)]);
            let mut answer = call.await?.list()?;
            match answer.item()?.number()? {
                0 => drop(self.begin(partition).await?),
                1 => return Ok(()),
                _ => {
                    let servers = answer.item()?.list()?.filter_map(|server| server.bytes());
                    for server in servers {
                        let name = std::str::from_utf8(&server).ok().and_then(|name| ServerId::try_new(name).ok());
                        // Only sooner than the check once a second, which finds the chain behind: one server that cannot be
                        // told keeps no other from it.
                        if let Some(server) = name
                            && let Err(error) = self.notifier.send(&server, &Notification::MayHaveMissed).await
                        {
                            tracing::debug!(%partition, %server, %error, "a server was not told that retention took something");
                        }
                    }
                    return Ok(());
                }
            }
        }
        Err(Failure::Unavailable("redis forgets what it was just told".to_owned()))
    }
}
