//! How far partitions are, asked once a second; and whether Redis still is the one it was (rules 16 and 20).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use fred::{
    error::Error,
    interfaces::{ClientLike, ClusterInterface as _},
    types::{Value, cluster::ClusterRouting},
    util::redis_keyslot,
};
use futures_util::future::join_all;
use nimbus_core::{
    Partition, Position, ServerId,
    ports::{mailbox::Head, notifier::Notification},
};
use tokio::sync::watch;

use super::Inner;
use crate::{checks::NodeInfo, command::command, error::Failure, link::decimal};

/// What this process remembers of the Redis it knows.
#[derive(Debug, Default)]
pub(super) struct Memories {
    known: Mutex<Remembered>,
    repaired: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// By partition: which memory it was.
    born: HashMap<Partition, Bytes>,
    /// By node: whom it copies, or who copies it.
    replication: HashMap<String, String>,
    /// Some partitions could not be asked the last time.
    is_partial: bool,
}

impl Remembered {
    /// Whether a partition's memory is not the one it was. What was not known before is no other one.
    fn is_other(&self, partition: Partition, born: Option<&Bytes>) -> bool {
        self.born.get(&partition).is_some_and(|known| Some(known) != born)
    }

    /// Whether any of these nodes is not the one it was: one that was not there before has taken over from one that was. One that
    /// does not answer has said nothing.
    fn is_replaced(&self, replication: &HashMap<String, String>) -> bool {
        !self.replication.is_empty() && replication.iter().any(|(node, id)| self.replication.get(node) != Some(id))
    }
}

/// The nodes that say who they are.
struct Nodes {
    /// Where partitions are; `None` where there is only one node.
    routing: Option<ClusterRouting>,
    replication: HashMap<String, String>,
    /// Why some do not.
    failure: Option<Failure>,
}

impl Nodes {
    /// Whether it is known who the node of this key is. If it is not, it may be another one than before.
    fn know(&self, key: &str) -> bool {
        let Some(routing) = &self.routing else { return !self.replication.is_empty() };
        let node = routing.get_server(redis_keyslot(key.as_bytes()));
        node.is_some_and(|node| self.replication.contains_key(&node.to_string()))
    }
}

/// What is found of one partition.
struct Looked {
    head: Head,
    born: Bytes,
    /// How many clients sessions elsewhere took from the asking server.
    taken: u64,
}

/// What a node says of its replication.
async fn who_it_is(node: &impl ClientLike) -> Result<String, Error> {
    command(node, "INFO", vec!["replication".into()]).await
}

impl Memories {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a partition's memory is not the one it was.
    pub(super) fn is_other(&self, partition: Partition, born: Option<Bytes>) -> bool {
        self.lock().is_other(partition, born.as_ref())
    }

    /// Whether any of these nodes is not the one it was.
    fn is_replaced(&self, replication: &HashMap<String, String>) -> bool {
        self.lock().is_replaced(replication)
    }

    /// What is found first is what is to be expected from now on.
    pub(super) fn first(&self, partition: Partition, born: &Bytes) {
        self.lock().born.entry(partition).or_insert_with(|| born.clone());
    }

    /// Whether it is known which Redis this is.
    fn has_replication(&self) -> bool {
        !self.lock().replication.is_empty()
    }

    /// Nodes that are seen for the first time, by a process that has nothing in them yet.
    fn learn(&self, replication: HashMap<String, String>) {
        for (node, id) in replication {
            self.lock().replication.entry(node).or_insert(id);
        }
    }

    /// Whether this is another Redis, or another memory in it, than before.
    fn differ(&self, born: &[(Partition, Bytes)], replication: &HashMap<String, String>) -> bool {
        let mut known = self.lock();
        let replaced = known.is_replaced(replication);
        let emptied = born.iter().any(|(partition, born)| known.is_other(*partition, Some(born)));
        if !replaced && !emptied {
            known.replication.extend(replication.clone());
            for (partition, born) in born {
                known.born.entry(*partition).or_insert_with(|| born.clone());
            }
        }
        replaced || emptied
    }

    fn accept(&self, born: Vec<(Partition, Bytes)>, replication: HashMap<String, String>) {
        let mut known = self.lock();
        known.born.extend(born);
        known.replication.extend(replication);
        drop(known);
        self.repaired.send_replace(());
    }

    /// Hears when everything was claimed again after a loss.
    pub(super) fn repaired(&self) -> watch::Receiver<()> {
        self.repaired.subscribe()
    }

    /// Whether that is news.
    fn set_partial(&self, is_partial: bool) -> bool {
        std::mem::replace(&mut self.lock().is_partial, is_partial) != is_partial
    }
}

impl Inner {
    /// What one node does not say keeps nobody from what the others say: a partition is left out when it cannot be asked,
    /// when it is not known whether its node still is the one it was, or while an unsure claim may hold a client of it.
    pub(super) async fn heads(&self, server: &ServerId, partitions: &[Partition]) -> Result<Vec<Head>, Failure> {
        // Before the heads: whoever replaces a node from here on is found the next time.
        let (epoch, (unsettled, settling), nodes) =
            futures_util::join!(self.epoch.get_or_put(&self.link), self.settle_unsure(), self.nodes());
        let mut failure = settling.or_else(|| nodes.failure.clone());
        match epoch {
            Ok(found) => self.epoch.expect(found)?,
            Err(error) => failure = Some(error),
        }
        let looked = join_all(partitions.iter().map(|partition| self.look(server, *partition))).await;
        let mut found = Vec::with_capacity(looked.len());
        for (partition, looked) in partitions.iter().zip(looked) {
            match looked {
                Ok(_) if unsettled.contains(partition) => {}
                Ok(_) if !nodes.know(&self.keys.partition(*partition).head()) => {}
                Ok(looked) => found.push(looked),
                Err(error) => failure = Some(error),
            }
        }
        if self.bus.is_cut() {
            return Err(Failure::Unavailable("the channel is being made anew".to_owned()));
        }
        let missing = partitions.len() - found.len();
        if found.is_empty() && missing > 0 {
            return Err(failure.unwrap_or_else(|| Failure::Unavailable("no partition can be asked".to_owned())));
        }
        if self.memories.set_partial(missing > 0) {
            match failure.filter(|_| missing > 0) {
                Some(error) => {
                    tracing::warn!(%error, missing, of = partitions.len(), "some partitions cannot be asked how far they are")
                }
                None => tracing::info!("all partitions say again how far they are"),
            }
        }
        let born: Vec<_> = found.iter().map(|looked| (looked.head.partition, looked.born.clone())).collect();
        if self.memories.differ(&born, &nodes.replication) {
            self.link.metrics.losses.inc();
            tracing::error!("redis was emptied or replaced, claiming all clients of this process again");
            // Claim first, then read (rule 18): what is applied from now on is told, what was before is read. What is in
            // partitions that cannot be asked is claimed when they can, if they have lost anything.
            //
            // In between nothing is handed out. A client that is claimed again late, behind others, may have results that were
            // applied before and told to nobody; the next ones are told, and the chain of its server need not show that.
            self.bus.cut();
            let held_back = self.bus.hold();
            self.claim_again(|partition| born.iter().any(|(answered, _)| *answered == partition)).await?;
            self.memories.accept(born, nodes.replication);
            drop(held_back);
            // Until the sessions have read, nobody may be told "you have everything".
            return Err(Failure::Unavailable("redis had lost its memory; it is being repaired".to_owned()));
        }
        let taken: Vec<_> = found.iter().map(|looked| (looked.head.partition, looked.taken)).collect();
        self.tell_who_lost(&taken).await;
        Ok(found.into_iter().map(|looked| looked.head).collect())
    }

    /// Whether what was read comes from the Redis that this process has its claims in. Over a connection that was made anew it may
    /// be a successor that lacks the last of what sessions were told of: a session that takes its page for all there is goes live
    /// too early, and the next it hears, from the former one still, lies behind what it then never sees.
    pub(super) async fn is_known(&self, partition: Partition) -> Result<bool, Failure> {
        let Some(made) = self.link.anew.unsettled() else { return Ok(true) };
        let nodes = self.nodes().await;
        if self.memories.is_replaced(&nodes.replication) {
            return Ok(false);
        }
        let is_known = nodes.know(&self.keys.partition(partition).head());
        match nodes.failure {
            None => self.link.anew.settle(made),
            Some(failure) if !is_known => return Err(failure),
            // Of the others the next one who reads may ask again.
            Some(_) => {}
        }
        Ok(true)
    }

    /// Learns which Redis this is, before this process has anything in it that could be lost with it: were it learnt later,
    /// whoever had taken over by then would pass for the one that was always there.
    pub(super) async fn meet(&self) -> Result<(), Failure> {
        if self.memories.has_replication() {
            return Ok(());
        }
        let nodes = self.nodes().await;
        if let Some(failure) = nodes.failure {
            return Err(failure);
        }
        self.memories.learn(nodes.replication);
        Ok(())
    }

    async fn look(&self, server: &ServerId, partition: Partition) -> Result<Looked, Failure> {
        self.check(partition)?;
        let keys = self.keys.partition(partition);
        let of_server =
            |key: String| command::<Option<u64>, _>(&self.link.quick, "HGET", vec![key.into(), server.as_str().into()]);
        let (head, notified, taken) = futures_util::join!(
            command::<Vec<Value>, _>(
                &self.link.quick,
                "HMGET",
                vec![keys.head().into(), "applied".into(), "born".into()]
            ),
            of_server(keys.notified()),
            of_server(keys.taken()),
        );
        let (head, notified, taken) = (head?, notified?, taken?);
        let applied = head.first().and_then(Value::as_u64);
        let born = head.get(1).and_then(|born| born.as_bytes().map(Bytes::copy_from_slice));
        let (applied, born) = match (applied, born) {
            (Some(applied), Some(born)) => (Position(applied), born),
            _ => {
                let head = self.begin(partition).await?;
                (head.applied, head.born)
            }
        };
        let head = Head { partition, applied, notified: Position(notified.unwrap_or(0)) };
        Ok(Looked { head, born, taken: taken.unwrap_or(0) })
    }

    async fn nodes(&self) -> Nodes {
        let client = &self.link.quick;
        if !self.link.cluster {
            let info = who_it_is(client).await;
            let (replication, failure) = match info {
                Ok(info) => (HashMap::from([(String::new(), NodeInfo::parse(&info).replication_id())]), None),
                Err(error) => (HashMap::new(), Some(error.into())),
            };
            return Nodes { routing: None, replication, failure };
        }
        let routing = client.cached_cluster_state();
        let primaries = routing.as_ref().map(ClusterRouting::unique_primary_nodes).unwrap_or_default();
        let infos = primaries.into_iter().map(|primary| async move {
            let info = who_it_is(&client.with_cluster_node(&primary)).await;
            (primary, info)
        });
        let mut nodes = Nodes {
            routing: Some(routing.unwrap_or_else(ClusterRouting::new)),
            replication: HashMap::new(),
            failure: None,
        };
        for (primary, info) in join_all(infos).await {
            match info {
                Ok(info) => {
                    drop(nodes.replication.insert(primary.to_string(), NodeInfo::parse(&info).replication_id()))
                }
                Err(error) => nodes.failure = Some(error.into()),
            }
        }
        nodes
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
