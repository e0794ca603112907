//! Forgetting what nobody can need any more, a little at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fred::types::Value;
use nimbus_core::{
    ClientId, Partition, ServerId,
    clock::UnixMillis,
    mailbox::{LogStarts, PartitionMailbox, PartitionSnapshot},
};

use super::Inner;
use crate::{
    command::command,
    error::Failure,
    link::{decimal, text},
};

/// Fields looked at in one call, and calls for one hash in one sweep.
const PAGE: u64 = 256;
const PAGES: usize = 8;

/// Clients trimmed by one call.
const TRIM: u64 = 256;

/// Without a listener for so long, a server is gone. Far longer than a connection takes to be made again.
const GONE: Duration = Duration::from_secs(600);

/// How far earlier sweeps got.
#[derive(Debug, Default)]
pub(super) struct Sweeps(Mutex<HashMap<Partition, Progress>>);

#[derive(Debug, Default)]
struct Progress {
    claims: String,
    seen: String,
    listeners: Listeners,
}

/// Which servers listen for a partition. One that has crashed releases nobody, and never comes back under its name.
#[derive(Debug, Default)]
struct Listeners {
    /// In this sweep.
    asked: HashSet<ServerId>,
    /// Since when nobody has been found to listen, at each look. Those of a retention ago are looked at anew: bounded by the
    /// servers that end in that time.
    absent: HashMap<ServerId, UnixMillis>,
}

impl Inner {
    pub(super) async fn sweep(&self, logs: impl Fn(Partition) -> LogStarts + Send) -> Result<usize, Failure> {
        let (mut forgotten, mut failed) = (0, None);
        for partition in self.partitions.all() {
            let mut progress = {
                let mut all = self.sweeps.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.remove(&partition).unwrap_or_default()
            };
            // A partition that does not answer keeps its place, and no other from its turn.
            if let Err(failure) = self.sweep_partition(partition, logs(partition), &mut progress, &mut forgotten).await
            {
                failed.get_or_insert(failure);
            }
            self.sweeps.0.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, progress);
        }
        self.metrics.forgotten.inc_by(forgotten as u64);
        failed.map_or(Ok(forgotten), Err)
    }

    async fn sweep_partition(
        &self,
        partition: Partition,
        starts: LogStarts,
        progress: &mut Progress,
        forgotten: &mut usize,
    ) -> Result<(), Failure> {
        let Progress { claims, seen, listeners } = progress;
        listeners.asked.clear();
        self.expire(partition).await?;
        let keys = self.keys.partition(partition);
        *forgotten += self.sweep_clients(keys.claim(), claims, partition, starts, listeners).await?;
        *forgotten += self.sweep_clients(keys.seen(), seen, partition, starts, listeners).await?;
        self.sweep_servers(partition, listeners).await
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
        listeners: &mut Listeners,
    ) -> Result<usize, Failure> {
        let mut forgotten = 0;
        for _ in 0..PAGES {
            for (client, _) in self.page_of(&hash, cursor).await? {
                let client = std::str::from_utf8(&client).ok().and_then(|client| ClientId::try_new(client).ok());
                let Some(client) = client else { continue };
                match self.forget(&client, partition, starts, listeners).await {
                    Ok(is_forgotten) => forgotten += usize::from(is_forgotten),
                    // It stays; the others must not stay with it.
                    Err(Failure::Unreadable(error)) => {
                        self.metrics.unreadable.inc();
                        tracing::debug!(%client, %error, "a client cannot be read, and is not forgotten");
                    }
                    Err(failure) => return Err(failure),
                }
            }
            if cursor == "0" {
                break;
            }
        }
        Ok(forgotten)
    }

    /// Whether the client was forgotten: the rules say so, and nothing about it changed meanwhile.
    async fn forget(
        &self,
        client: &ClientId,
        partition: Partition,
        starts: LogStarts,
        listeners: &mut Listeners,
    ) -> Result<bool, Failure> {
        let Some(holder) = self.holder(client).await? else { return Ok(false) };
        // The rules look at when it was claimed; they take it for one that nobody holds.
        if let Some((server, _)) = holder.owner()
            && !self.is_gone(partition, server, listeners).await?
        {
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
            keys.tenure(),
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

    /// Forgets the chains of servers that are gone. One that comes back all the same finds its chain broken, which makes it
    /// repair: the safe side.
    async fn sweep_servers(&self, partition: Partition, listeners: &mut Listeners) -> Result<(), Failure> {
        let keys = self.keys.partition(partition);
        let known: Vec<String> = command(&self.link.bulk, "HKEYS", vec![keys.notified().into()]).await?;
        let mut gone = Vec::new();
        for name in known {
            let server = ServerId::try_new(name.as_str());
            if let Ok(server) = server
                && self.is_gone(partition, &server, listeners).await?
            {
                gone.push(name);
            }
        }
        if !gone.is_empty() {
            // What each of them is known by last: what fails in between is done by the next sweep.
            for key in [keys.taken(), keys.notified()] {
                let fields = gone.iter().map(|server| Value::from(server.as_str()));
                command::<u64, _>(&self.link.bulk, "HDEL", std::iter::once(key.into()).chain(fields).collect()).await?;
            }
        }
        Ok(())
    }

    /// Whether nobody has listened for a server for long enough that it cannot be a connection that is being made again.
    async fn is_gone(
        &self,
        partition: Partition,
        server: &ServerId,
        listeners: &mut Listeners,
    ) -> Result<bool, Failure> {
        let now = self.clock.now();
        if !listeners.asked.contains(server) {
            let count = self.notifier.listeners(partition, server).await?;
            listeners.absent.retain(|_, since| now.since(*since) <= self.limits.retention * 2);
            if count > 0 {
                listeners.absent.remove(server);
            } else {
                listeners.absent.entry(server.clone()).or_insert(now);
            }
            listeners.asked.insert(server.clone());
        }
        Ok(listeners.absent.get(server).is_some_and(|since| now.since(*since) >= GONE))
    }

    /// One page of a hash. The cursor is empty before the first page and "0" behind the last.
    async fn page_of(&self, hash: &str, cursor: &mut String) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let from = if cursor.is_empty() { "0" } else { cursor.as_str() };
        let arguments: Vec<Value> = vec![hash.into(), from.into(), "COUNT".into(), (PAGE as i64).into()];
        let (next, fields): (String, Vec<Bytes>) = command(&self.link.bulk, "HSCAN", arguments).await?;
        *cursor = next;
        let mut fields = fields.into_iter();
        Ok(std::iter::from_fn(|| Some((fields.next()?, fields.next()?))).collect())
    }
}
