//! What the bus counts. The names are those of the embedded bus: a dashboard need not know which one it looks at.

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
    pub(super) unreadable: Counter,
    pub(super) resubscribed: Counter,
    pub(super) subscriptions: Gauge,
}

impl NotifierMetrics {
    /// Makes the counters and puts them into a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("nimbus_notifier_sent", "Notifications sent to a server that is subscribed", metrics.sent.clone());
        registry.register(
            "nimbus_notifier_dropped",
            "Notifications dropped because this server's queue was full; it repairs from the mailbox",
            metrics.dropped.clone(),
        );
        registry.register(
            "nimbus_notifier_unheard",
            "Notifications for a server that is not subscribed",
            metrics.unheard.clone(),
        );
        registry.register(
            "nimbus_notifier_unreadable",
            "Notifications that this build cannot read; the server repairs from the mailbox",
            metrics.unreadable.clone(),
        );
        registry.register(
            "nimbus_notifier_resubscribed",
            "Times that a subscription had to be made again",
            metrics.resubscribed.clone(),
        );
        registry.register(
            "nimbus_notifier_subscriptions",
            "Servers of this process that are subscribed",
            metrics.subscriptions.clone(),
        );
        metrics
    }
}
