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
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
    time::{Duration, MissedTickBehavior, interval, sleep},
};

use super::{NotifierMetrics, queue::Queue};
use crate::{checks::NodeInfo, codec::notice, error::Failure, link::Link};

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
        link: &Arc<Link>,
        channels: Vec<String>,
        queue: Arc<Queue>,
        metrics: NotifierMetrics,
    ) -> Result<Self, Failure> {
        let line = Line::open(link, &channels).await?;
        let pump = Pump { line, link: Arc::clone(link), channels, queue: Arc::clone(&queue), metrics: metrics.clone() };
        metrics.subscriptions.inc();
        Ok(Self { queue, pump: tokio::spawn(pump.run()), metrics })
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

/// A client of the library that listens, and what it tells.
struct Line {
    client: SubscriberClient,
    messages: Receiver<Message>,
    reconnected: Receiver<Server>,
    moved: Receiver<Vec<ClusterStateChange>>,
    sharded: bool,
}

impl Line {
    /// Connects, and subscribes.
    async fn open(link: &Link, channels: &[String]) -> Result<Self, Failure> {
        let client = link.subscriber()?;
        let mut line = Self {
            messages: client.message_rx(),
            reconnected: client.reconnect_rx(),
            moved: client.cluster_change_rx(),
            client,
            sharded: link.cluster,
        };
        line.client.init().await?;
        // What happened so far was before the subscription; what happens from here on may end it.
        while line.reconnected.try_recv().is_ok() || line.moved.try_recv().is_ok() {}
        line.subscribe(channels).await?;
        Ok(line)
    }

    async fn subscribe(&self, channels: &[String]) -> Result<(), Failure> {
        if !self.sharded {
            return Ok(self.client.subscribe(channels.to_vec()).await?);
        }
        for channel in channels {
            self.client.ssubscribe(channel.as_str()).await?;
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let client = self.client.clone();
        // A drop cannot wait, and a client that is not told to quit keeps its connection. Without a runtime the process is
        // ending, and the connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { drop(client.quit().await) }));
        }
    }
}

struct Pump {
    line: Line,
    link: Arc<Link>,
    channels: Vec<String>,
    queue: Arc<Queue>,
    metrics: NotifierMetrics,
}

impl Pump {
    /// On which node each channel is, as far as commands have found out (a subscription hears nothing of it); nothing outside a
    /// cluster.
    fn places(&self) -> Vec<Option<Server>> {
        let routing = if self.link.cluster { self.link.quick.cached_cluster_state() } else { None };
        let Some(routing) = routing else { return Vec::new() };
        let node = |channel: &String| routing.get_server(ClusterRouting::hash_key(channel.as_bytes())).cloned();
        self.channels.iter().map(node).collect()
    }

    /// Until it is aborted, with the subscription.
    async fn run(mut self) {
        let mut check = interval(self.link.keepalive);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut places = self.places();
        loop {
            tokio::select! {
                // First what says that what comes next may have a hole in front of it.
                biased;
                () = self.queue.to_be_cut() => self.begin_anew().await,
                it = self.line.reconnected.recv() => match it {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.again().await,
                    Err(RecvError::Closed) => break,
                },
                it = self.line.moved.recv() => match it {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.again().await,
                    Err(RecvError::Closed) => break,
                },
                _ = check.tick() => self.check().await,
                _ = look.tick(), if self.link.cluster => {
                    let now = self.places();
                    // The node that a slot leaves ends the subscriptions to it, and the library keeps that to itself.
                    if now != places {
                        tracing::info!("slots have moved, subscribing to their channels again");
                        places = now;
                        self.again().await;
                    }
                }
                it = self.line.messages.recv() => match it {
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
        let client = &self.line.client;
        let found = if self.link.cluster {
            client.ping::<Value>(None).await.map(|_| true)
        } else {
            // A primary that was made a replica keeps its connections, and hears what is published only from afar.
            let info = client.info::<String>(Some(InfoKind::Replication)).await;
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
        drop(client.force_reconnection().await);
    }

    async fn again(&self) {
        self.metrics.resubscribed.inc();
        while let Err(failure) = self.line.subscribe(&self.channels).await {
            tracing::warn!(error = %failure, "the channel could not be subscribed again, trying once more");
            sleep(RETRY).await;
        }
        self.queue.missed();
    }

    /// With a client of its own: one that makes its connections again may keep some of them.
    async fn begin_anew(&mut self) {
        self.metrics.resubscribed.inc();
        loop {
            match Line::open(&self.link, &self.channels).await {
                Ok(line) => break self.line = line,
                Err(failure) => {
                    tracing::warn!(error = %failure, "the channel could not be made anew, trying once more")
                }
            }
            sleep(RETRY).await;
        }
        self.queue.anew();
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
