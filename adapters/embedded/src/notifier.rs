//! The in-process bus: one bounded queue per subscribed server.
//!
//! At most once, by design of the port: a server that falls behind loses notifications, is told so, and reads what it
//! missed from the mailbox. So the bus never waits for anyone and a slow server costs the others nothing. What is in a
//! queue is shared with the mailbox; a queue is bounded in bytes as well, since it keeps trimmed records alive.

mod metrics;
mod queue;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use nimbus_core::{
    ServerId,
    ports::notifier::{Notification, Notifier, NotifierError, Subscription},
};

pub use metrics::NotifierMetrics;
use queue::Queue;

/// Bounds of one server's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifierConfig {
    /// Most notifications. Default [`Self::NOTIFICATIONS`].
    pub notifications: usize,
    /// Most bytes of results, roughly. Default [`Self::BYTES`].
    pub bytes: usize,
}

impl NotifierConfig {
    /// About a second of batches at full load.
    pub const NOTIFICATIONS: usize = 1_024;
    /// Enough for the largest batches; a server that lags further is better served from the mailbox.
    pub const BYTES: usize = 32 << 20;
}

impl Default for NotifierConfig {
    fn default() -> Self {
        Self { notifications: Self::NOTIFICATIONS, bytes: Self::BYTES }
    }
}

/// The embedded [`Notifier`]. Cheap to clone; clones share the bus.
#[derive(Debug, Clone)]
pub struct EmbeddedNotifier {
    bus: Arc<Bus>,
}

struct Bus {
    config: NotifierConfig,
    metrics: NotifierMetrics,
    queues: Mutex<HashMap<ServerId, Arc<Queue>>>,
    closed: AtomicBool,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("config", &self.config).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Bus {
    fn queues(&self) -> std::sync::MutexGuard<'_, HashMap<ServerId, Arc<Queue>>> {
        // Every change of the map is one call: a panic elsewhere cannot leave it half done.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmbeddedNotifier {
    /// A bus with no subscribers.
    pub fn new(config: NotifierConfig, metrics: NotifierMetrics) -> Self {
        Self { bus: Arc::new(Bus { config, metrics, queues: Mutex::default(), closed: AtomicBool::new(false) }) }
    }

    /// Sends one notification, at most once, without waiting. A server that is not there is no error.
    pub fn send(&self, server: &ServerId, notification: Notification) {
        let queue = self.bus.queues().get(server).map(Arc::clone);
        match queue {
            Some(queue) if queue.push(notification) => self.bus.metrics.sent.inc(),
            Some(_) => self.bus.metrics.dropped.inc(),
            None => self.bus.metrics.unheard.inc(),
        };
    }

    /// Ends every subscription once its queue is empty, and every later one at once.
    pub fn close(&self) {
        self.bus.closed.store(true, Ordering::SeqCst);
        for (_, queue) in self.bus.queues().drain() {
            queue.close();
        }
    }
}

#[async_trait]
impl Notifier for EmbeddedNotifier {
    /// A second subscription of the same server takes the channel over; the first one ends.
    async fn subscribe(&self, server: &ServerId) -> Result<Box<dyn Subscription>, NotifierError> {
        let queue = Arc::new(Queue::new(self.bus.config));
        {
            let mut queues = self.bus.queues();
            if self.bus.closed.load(Ordering::SeqCst) {
                return Err(NotifierError::Unavailable("the notifier is closed".to_owned()));
            }
            if let Some(former) = queues.insert(server.clone(), Arc::clone(&queue)) {
                former.close();
            }
        }
        self.bus.metrics.subscriptions.inc();
        Ok(Box::new(EmbeddedSubscription { bus: Arc::clone(&self.bus), server: server.clone(), queue }))
    }

    async fn publish(&self, server: &ServerId, notification: Notification) -> Result<(), NotifierError> {
        if self.bus.closed.load(Ordering::SeqCst) {
            return Err(NotifierError::Unavailable("the notifier is closed".to_owned()));
        }
        self.send(server, notification);
        Ok(())
    }
}

#[derive(Debug)]
struct EmbeddedSubscription {
    bus: Arc<Bus>,
    server: ServerId,
    queue: Arc<Queue>,
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Option<Notification> {
        self.queue.next().await
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        self.bus.metrics.subscriptions.dec();
        let mut queues = self.bus.queues();
        // A newer subscription may have taken the channel over: it is not ours to remove.
        if queues.get(&self.server).is_some_and(|queue| Arc::ptr_eq(queue, &self.queue)) {
            queues.remove(&self.server);
        }
    }
}

#[cfg(test)]
mod tests;
