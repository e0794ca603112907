//! One subscription: a connection of its own, and a task that moves what comes over it into the queue.
//!
//! When the connection was lost and is there again, the task subscribes again and only then says that something may have
//! been missed: whatever is sent after that word is heard.

use std::sync::Arc;

use async_trait::async_trait;
use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike, ClusterInterface, EventInterface, PubsubInterface},
    types::{ClusterStateChange, InfoKind, Message, Value, cluster::ClusterRouting, config::Server},
};
use nimbus_core::ports::notifier::{Notification, Subscription};
use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    task::JoinHandle,
    time::{Duration, MissedTickBehavior, interval, sleep},
};

use super::{NotifierMetrics, queue::Queue};
use crate::{
    checks::NodeInfo,
    codec::notice,
    error::Failure,
    link::{Link, Linked},
};

/// How often is looked whether the slots of channels are still where they were subscribed to.
const LOOK: Duration = Duration::from_millis(500);

/// Before another attempt to subscribe, while Redis is not itself.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct RedisSubscription {
    queue: Arc<Queue>,
    pump: JoinHandle<()>,
    metrics: NotifierMetrics,
}

impl RedisSubscription {
    pub(super) async fn open(
        link: &Link,
        channels: Vec<String>,
        queue: Arc<Queue>,
        metrics: NotifierMetrics,
    ) -> Result<Self, Failure> {
        let client = link.subscriber()?;
        let mut events = Events {
            messages: client.message_rx(),
            reconnected: client.reconnect_rx(),
            moved: client.cluster_change_rx(),
        };
        client.init().await?;
        // What happened so far was before the subscription; what happens from here on may end it.
        while events.reconnected.try_recv().is_ok() || events.moved.try_recv().is_ok() {}
        let pump = Pump {
            client,
            channels,
            sharded: link.cluster,
            keepalive: link.keepalive,
            quick: link.quick.clone(),
            queue: Arc::clone(&queue),
            metrics: metrics.clone(),
        };
        if let Err(failure) = pump.subscribe().await {
            drop(pump.client.quit().await);
            return Err(failure);
        }
        metrics.subscriptions.inc();
        Ok(Self { queue, pump: tokio::spawn(pump.run(events)), metrics })
    }
}

#[async_trait]
impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Option<Notification> {
        self.queue.next().await
    }
}

impl Drop for RedisSubscription {
    fn drop(&mut self) {
        self.metrics.subscriptions.dec();
        self.queue.close();
        self.pump.abort();
    }
}

/// What the library tells.
struct Events {
    messages: Receiver<Message>,
    reconnected: Receiver<Server>,
    moved: Receiver<Vec<ClusterStateChange>>,
}

struct Pump {
    client: SubscriberClient,
    channels: Vec<String>,
    sharded: bool,
    keepalive: Duration,
    /// Its commands find out where slots are; a subscription hears nothing of it.
    quick: Linked,
    queue: Arc<Queue>,
    metrics: NotifierMetrics,
}

impl Pump {
    async fn subscribe(&self) -> Result<(), Failure> {
        if !self.sharded {
            return Ok(self.client.subscribe(self.channels.clone()).await?);
        }
        for channel in &self.channels {
            self.client.ssubscribe(channel.as_str()).await?;
        }
        Ok(())
    }

    /// On which node each channel is, as far as commands have found out; nothing outside a cluster.
    fn places(&self) -> Vec<Option<Server>> {
        let routing = if self.sharded { self.quick.cached_cluster_state() } else { None };
        let Some(routing) = routing else { return Vec::new() };
        let node = |channel: &String| routing.get_server(ClusterRouting::hash_key(channel.as_bytes())).cloned();
        self.channels.iter().map(node).collect()
    }

    /// Until it is aborted, with the subscription.
    async fn run(self, mut events: Events) {
        let mut check = interval(self.keepalive);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut places = self.places();
        let mut cutting = false;
        loop {
            tokio::select! {
                // First what says that what comes next may have a hole in front of it.
                biased;
                it = events.reconnected.recv() => match it {
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        self.again().await;
                        if std::mem::take(&mut cutting) {
                            // What the library still holds of the former connection.
                            while !matches!(events.messages.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
                            self.queue.anew();
                        }
                    }
                    Err(RecvError::Closed) => break,
                },
                () = self.queue.to_be_cut() => {
                    cutting = true;
                    // It fails when it is being made again already.
                    drop(self.client.force_reconnection().await);
                }
                it = events.moved.recv() => match it {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.again().await,
                    Err(RecvError::Closed) => break,
                },
                _ = check.tick() => self.check().await,
                _ = look.tick(), if self.sharded => {
                    let now = self.places();
                    // The node that a slot leaves ends the subscriptions to it, and the library keeps that to itself.
                    if now != places {
                        tracing::info!("slots have moved, subscribing to their channels again");
                        places = now;
                        self.again().await;
                    }
                }
                it = events.messages.recv() => match it {
                    Ok(message) => self.take(&message),
                    Err(RecvError::Lagged(lost)) => {
                        self.metrics.dropped.inc_by(lost);
                        self.queue.missed();
                    }
                    Err(RecvError::Closed) => break,
                },
            }
        }
        self.queue.missed();
        self.queue.close();
    }

    /// A connection over which nothing is sent never breaks, however dead it is: so something is sent.
    async fn check(&self) {
        let found = if self.sharded {
            self.client.ping::<Value>(None).await.map(|_| true)
        } else {
            // A primary that was made a replica keeps its connections, and hears what is published only from afar.
            let info = self.client.info::<String>(Some(InfoKind::Replication)).await;
            info.map(|info| NodeInfo::parse(&info).is_primary())
        };
        match found {
            Ok(true) => return,
            Ok(false) => tracing::warn!("the channel's connection leads to a replica, making it again"),
            Err(error) => {
                self.metrics.silences.inc();
                tracing::warn!(%error, "the channel's connection does not answer, making it again");
            }
        }
        // It fails when it is being made again already.
        drop(self.client.force_reconnection().await);
    }

    async fn again(&self) {
        self.metrics.resubscribed.inc();
        while let Err(failure) = self.subscribe().await {
            tracing::warn!(error = %failure, "the channel could not be subscribed again, trying once more");
            sleep(RETRY).await;
        }
        self.queue.missed();
    }

    fn take(&self, message: &Message) {
        let notification = message.value.as_bytes().map(notice::decode);
        match notification {
            Some(Ok(notification)) => {
                if !self.queue.push(notification) {
                    self.metrics.dropped.inc();
                }
            }
            Some(Err(error)) => {
                self.metrics.unreadable.inc();
                tracing::warn!(%error, "a notification cannot be read, repairing from the mailbox");
                self.queue.missed();
            }
            None => {
                self.metrics.unreadable.inc();
                self.queue.missed();
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let client = self.client.clone();
        // A drop cannot wait, and a client that is not told to quit keeps its connection. Without a runtime the process is
        // ending, and the connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { drop(client.quit().await) }));
        }
    }
}
