//! One subscription: a connection of its own, and a task that moves what comes over it into the queue.
//!
//! When the connection was lost and is there again, the task subscribes again and only then says that something may have
//! been missed: whatever is sent after that word is heard.

use std::sync::Arc;

use async_trait::async_trait;
use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::Message,
};
use nimbus_core::ports::notifier::{Notification, Subscription};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
    time::{Duration, sleep},
};

use super::{NotifierMetrics, queue::Queue};
use crate::{codec::notice, error::Failure, link::Link};

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
        let messages = client.message_rx();
        client.init().await?;
        let pump = Pump { client, channels, sharded: link.cluster, queue: Arc::clone(&queue), metrics: metrics.clone() };
        if let Err(failure) = pump.subscribe().await {
            drop(pump.client.quit().await);
            return Err(failure);
        }
        metrics.subscriptions.inc();
        Ok(Self { queue, pump: tokio::spawn(pump.run(messages)), metrics })
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

struct Pump {
    client: SubscriberClient,
    channels: Vec<String>,
    sharded: bool,
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

    /// Until it is aborted, with the subscription.
    async fn run(self, mut messages: Receiver<Message>) {
        let mut reconnected = self.client.reconnect_rx();
        let mut moved = self.client.cluster_change_rx();
        loop {
            tokio::select! {
                // First what says that what comes next may have a hole in front of it.
                biased;
                it = reconnected.recv() => match it {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.again().await,
                    Err(RecvError::Closed) => break,
                },
                it = moved.recv() => match it {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.again().await,
                    Err(RecvError::Closed) => break,
                },
                it = messages.recv() => match it {
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
