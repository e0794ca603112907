//! What the bus counts.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counters of the bus. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct NotifierMetrics {
    pub(super) sent: Counter,
    pub(super) dropped: Counter,
    pub(super) unheard: Counter,
    pub(super) subscriptions: Gauge,
}

impl NotifierMetrics {
    /// Makes the counters and puts them into a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("nimbus_notifier_sent", "Notifications put into a server's queue", metrics.sent.clone());
        registry.register(
            "nimbus_notifier_dropped",
            "Notifications dropped because a server's queue was full; it repairs from the mailbox",
            metrics.dropped.clone(),
        );
        registry.register(
            "nimbus_notifier_unheard",
            "Notifications for a server that is not subscribed",
            metrics.unheard.clone(),
        );
        registry.register(
            "nimbus_notifier_subscriptions",
            "Servers that are subscribed",
            metrics.subscriptions.clone(),
        );
        metrics
    }
}
