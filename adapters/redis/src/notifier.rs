//! The bus between servers: Redis pub/sub, with a bounded queue in each subscribed server.
//!
//! At most once, by design of the port. Whatever may have been lost on the way is announced with
//! [`Notification::MayHaveMissed`]: a queue that was full, a connection that broke and was made again, a message that this
//! build cannot read, a Redis that is not the one it was. On a single node a server has one channel; in a cluster one for
//! each partition, on the partition's own node (sharded pub/sub), so that a batch and its notification are one atomic step.

mod metrics;
mod queue;
mod subscription;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use fred::{
    interfaces::ClientLike as _,
    types::{ClusterHash, CustomCommand, Value},
};
use nimbus_core::{
    Partition, PartitionCount, ServerId,
    ports::notifier::{Notification, Notifier, NotifierError, Subscription},
};

pub use self::{metrics::NotifierMetrics, queue::QueueLimits};
use self::{queue::Queue, subscription::RedisSubscription};
use crate::{codec::notice, command::command, error::Failure, keys::Keys, link::Link};

/// The queues of this process: what may have been missed is said to all of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bus(Arc<Mutex<Vec<Listener>>>);

/// The queue of a subscription that may be gone already.
type Listener = (ServerId, Weak<Queue>);

/// While it lives, no results are handed out.
#[derive(Debug)]
pub(crate) struct HeldBack(Vec<Arc<Queue>>);

impl Drop for HeldBack {
    fn drop(&mut self) {
        self.0.iter().for_each(|queue| queue.go_on());
    }
}

impl Bus {
    fn add(&self, server: &ServerId, queue: &Arc<Queue>) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|(_, queue)| queue.strong_count() > 0);
        queues.push((server.clone(), Arc::downgrade(queue)));
    }

    fn each(&self, mut f: impl FnMut(&ServerId, Arc<Queue>)) {
        for (server, queue) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Some(queue) = queue.upgrade() {
                f(server, queue);
            }
        }
    }

    /// Has every subscription of this process begin anew, with a connection of its own: what is still on its way from a Redis
    /// that was lost must not be taken for what its successor says.
    pub(crate) fn cut(&self) {
        self.each(|_, queue| queue.cut());
    }

    /// Whether a subscription of this process has not begun anew yet.
    pub(crate) fn is_cut(&self) -> bool {
        let mut any = false;
        self.each(|_, queue| any |= queue.is_cut());
        any
    }

    /// Keeps results from every subscription of this process until the guard is dropped; then all are told to repair.
    pub(crate) fn hold(&self) -> HeldBack {
        let mut queues = Vec::new();
        self.each(|_, queue| {
            queue.hold();
            queues.push(queue);
        });
        HeldBack(queues)
    }

    /// Tells a server of this process something, without Redis in between.
    pub(crate) fn tell(&self, server: &ServerId, notification: &Notification) {
        self.each(|name, queue| {
            if name == server && !queue.push(notification.clone()) {
                queue.missed();
            }
        });
    }

    /// Ends every subscription of this process once its queue is empty.
    pub(crate) fn close(&self) {
        self.each(|_, queue| queue.close());
    }
}

/// The Redis [`Notifier`]. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct RedisNotifier {
    link: Arc<Link>,
    keys: Keys,
    partitions: PartitionCount,
    limits: QueueLimits,
    metrics: NotifierMetrics,
    bus: Bus,
}

impl RedisNotifier {
    pub(crate) fn new(
        link: Arc<Link>,
        keys: Keys,
        partitions: PartitionCount,
        limits: QueueLimits,
        metrics: NotifierMetrics,
        bus: Bus,
    ) -> Self {
        Self { link, keys, partitions, limits, metrics, bus }
    }

    /// What the mailbox and this say to a server that is elsewhere.
    pub(crate) async fn send(&self, server: &ServerId, notification: &Notification) -> Result<(), Failure> {
        let partition = match notification {
            Notification::Results { partition, .. } => *partition,
            // One and the same for all: what one caller says one after another stays in order.
            Notification::Superseded { .. } | Notification::MayHaveMissed => Partition(0),
        };
        let channel = self.keys.channel(partition, server);
        let message = notice::encode(notification);
        let publish = if self.link.cluster { "SPUBLISH" } else { "PUBLISH" };
        let heard: u64 = command(&self.link.quick, publish, vec![channel.into(), message.into()]).await?;
        if heard == 0 { &self.metrics.unheard } else { &self.metrics.sent }.inc();
        Ok(())
    }
}

impl RedisNotifier {
    /// How many connections listen for a server, as to one partition.
    pub(crate) async fn listeners(&self, partition: Partition, server: &ServerId) -> Result<u64, Failure> {
        let word = if self.link.cluster { "SHARDNUMSUB" } else { "NUMSUB" };
        // To the node that has the channel.
        let command = CustomCommand::new_static("PUBSUB", ClusterHash::Offset(1), false);
        let arguments: Vec<Value> = vec![word.into(), self.keys.channel(partition, server).into()];
        let (_, count): (String, u64) = self.link.bulk.custom(command, arguments).await?;
        Ok(count)
    }
}

#[async_trait]
impl Notifier for RedisNotifier {
    /// A second subscription of the same server hears the same as the first.
    async fn subscribe(&self, server: &ServerId) -> Result<Box<dyn Subscription>, NotifierError> {
        let channels: Vec<_> = if self.link.cluster {
            self.partitions.all().map(|partition| self.keys.channel(partition, server)).collect()
        } else {
            vec![self.keys.channel(Partition(0), server)]
        };
        let queue = Arc::new(Queue::new(self.limits));
        let subscription =
            RedisSubscription::open(&self.link, channels, Arc::clone(&queue), self.metrics.clone()).await?;
        self.bus.add(server, &queue);
        Ok(Box::new(subscription))
    }

    async fn publish(&self, server: &ServerId, notification: Notification) -> Result<(), NotifierError> {
        Ok(self.send(server, &notification).await?)
    }
}
