//! Forgetting what nobody can need any more, a little at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use fred::{
    interfaces::{ClientLike as _, HashesInterface as _},
    types::{ClusterHash, CustomCommand, Value},
};
use nimbus_core::{
    ClientId, Partition, ServerId,
    mailbox::{LogStarts, PartitionMailbox, PartitionSnapshot},
};

use super::Inner;
use crate::{
    codec::owner::{self, Holding},
    error::Failure,
    link::{decimal, text},
};

/// Fields looked at in one call, and calls for one hash in one sweep.
const PAGE: u64 = 256;
const PAGES: usize = 8;

/// Clients trimmed by one call.
const TRIM: u64 = 256;

/// How far earlier sweeps got.
#[derive(Debug, Default)]
pub(super) struct Sweeps(Mutex<HashMap<Partition, Progress>>);

#[derive(Debug, Default)]
struct Progress {
    claims: String,
    seen: String,
    owners: String,
    /// Servers that own somebody, as far as this pass over the owners got.
    servers: HashSet<ServerId>,
}

impl Inner {
    pub(super) async fn sweep(&self, logs: impl Fn(Partition) -> LogStarts + Send) -> Result<usize, Failure> {
        let mut forgotten = 0;
        for partition in self.partitions.all() {
            let mut progress = {
                let mut all = self.sweeps.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.remove(&partition).unwrap_or_default()
            };
            let starts = logs(partition);
            self.expire(partition).await?;
            let keys = self.keys.partition(partition);
            forgotten += self.sweep_clients(keys.claim(), &mut progress.claims, partition, starts).await?;
            forgotten += self.sweep_clients(keys.seen(), &mut progress.seen, partition, starts).await?;
            self.sweep_servers(partition, &mut progress).await?;
            self.sweeps.0.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, progress);
        }
        self.metrics.forgotten.inc_by(forgotten as u64);
        Ok(forgotten)
    }

    /// Lets go of records past their window, also where no batch comes any more.
    async fn expire(&self, partition: Partition) -> Result<(), Failure> {
        let mut head = self.head(partition).await?;
        let expired = head.timeline.expire(self.clock.now(), self.limits.window);
        match expired.filter(|expired| *expired > head.floor) {
            Some(floor) => self.trim(partition, floor, TRIM).await,
            None => Ok(()),
        }
    }

    async fn sweep_clients(
        &self,
        hash: String,
        cursor: &mut String,
        partition: Partition,
        starts: LogStarts,
    ) -> Result<usize, Failure> {
        let mut forgotten = 0;
        for _ in 0..PAGES {
            for (client, _) in self.page_of(&hash, cursor).await? {
                let client = std::str::from_utf8(&client).ok().and_then(|client| ClientId::try_new(client).ok());
                if let Some(client) = client {
                    forgotten += usize::from(self.forget(&client, partition, starts).await?);
                }
            }
            if cursor == "0" {
                break;
            }
        }
        Ok(forgotten)
    }

    /// Whether the client was forgotten: the rules say so, and nothing about it changed meanwhile.
    async fn forget(&self, client: &ClientId, partition: Partition, starts: LogStarts) -> Result<bool, Failure> {
        let Some(holder) = self.holder(client).await? else { return Ok(false) };
        if holder.owner().is_some() {
            return Ok(false);
        }
        let Some(snapshot) = holder.snapshot(client) else { return Ok(false) };
        let mut rules = PartitionMailbox::new(partition, self.limits);
        rules.restore(PartitionSnapshot { clients: vec![snapshot], ..PartitionSnapshot::default() });
        if rules.sweep(self.clock.now(), starts) == 0 {
            return Ok(false);
        }
        // The rules remember in the partition's floor what the client's own floor said.
        let floor = rules.snapshot().floor;
        let keys = self.keys.partition(partition);
        let all = vec![
            keys.head(),
            keys.claim(),
            keys.owner(),
            keys.seen(),
            keys.floors(),
            keys.kept(),
            keys.waiting(),
            keys.stream(client),
        ];
        let arguments = vec![
            text(client.as_str()),
            holder.claims_blob.unwrap_or_default(),
            holder.owner_blob.unwrap_or_default(),
            holder.seen_blob.unwrap_or_default(),
            decimal(floor.0),
        ];
        let answer = self.link.call(&self.link.bulk, &self.link.scripts.forget, all, arguments).await?;
        Ok(answer.number()? == 1)
    }

    /// Forgets the chains of servers that own nobody. One that owns somebody all the same finds its chain broken, which
    /// makes it repair: the safe side.
    async fn sweep_servers(&self, partition: Partition, progress: &mut Progress) -> Result<(), Failure> {
        let keys = self.keys.partition(partition);
        for _ in 0..PAGES {
            for (_, entry) in self.page_of(&keys.owner(), &mut progress.owners).await? {
                if let Some(Holding::Held { server, .. }) = owner::decode(&entry) {
                    progress.servers.insert(server);
                }
            }
            if progress.owners == "0" {
                let alive = std::mem::take(&mut progress.servers);
                let known: Vec<String> = self.link.bulk.hkeys(keys.notified()).await?;
                let gone = known.into_iter().filter(|name| !alive.iter().any(|server| server.as_str() == name));
                let gone: Vec<_> = gone.collect();
                if !gone.is_empty() {
                    self.link.bulk.hdel::<(), _, _>(keys.notified(), gone).await?;
                }
                break;
            }
        }
        Ok(())
    }

    /// One page of a hash. The cursor is empty before the first page and "0" behind the last.
    async fn page_of(&self, hash: &str, cursor: &mut String) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let command = CustomCommand::new_static("HSCAN", ClusterHash::FirstKey, false);
        let from = if cursor.is_empty() { "0" } else { cursor.as_str() };
        let arguments: Vec<Value> = vec![hash.into(), from.into(), "COUNT".into(), (PAGE as i64).into()];
        let (next, fields): (String, Vec<Bytes>) = self.link.bulk.custom(command, arguments).await?;
        *cursor = next;
        let mut fields = fields.into_iter();
        Ok(std::iter::from_fn(|| Some((fields.next()?, fields.next()?))).collect())
    }
}

