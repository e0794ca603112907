//! The way in: connects, checks, finds the log epoch, and makes the two ports.

use std::sync::Arc;

use fred::{interfaces::ClientLike as _, types::Value};
use nimbus_core::{LogEpoch, PartitionCount, clock::Clock};

use crate::{
    checks::{self, NodeInfo},
    config::RedisConfig,
    epoch::{self, EpochKey},
    error::{Failure, Finding, RedisError},
    keys::Keys,
    link::Link,
    mailbox::{Beginning, MailboxMetrics, Parts, RedisMailbox},
    metrics::RedisMetrics,
    notifier::{Bus, NotifierMetrics, RedisNotifier},
};

/// A Redis that is fit for use. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct RedisStore {
    pub(crate) link: Arc<Link>,
    pub(crate) config: RedisConfig,
    bus: Bus,
}

/// Everything the ports count.
#[derive(Debug, Clone, Default)]
pub struct PortMetrics {
    /// Of the mailbox.
    pub mailbox: MailboxMetrics,
    /// Of the bus.
    pub notifier: NotifierMetrics,
}

/// The two ports of one log epoch.
#[derive(Debug, Clone)]
pub struct RedisPorts {
    /// Mailboxes.
    pub mailbox: RedisMailbox,
    /// The bus.
    pub notifier: RedisNotifier,
}

impl RedisStore {
    /// Connects, and refuses a Redis that would lose what it is given. Afterwards a lost connection is made again, with
    /// growing pauses; until then calls fail as unavailable.
    ///
    /// # Errors
    /// [`RedisError::Unreachable`] (retryable), [`RedisError::Unfit`] and [`RedisError::Address`] (not before somebody has
    /// done what it says).
    pub async fn connect(config: RedisConfig, metrics: RedisMetrics) -> Result<Self, RedisError> {
        let store = Self::connect_to_examine(config, metrics).await?;
        let fit = match store.nodes().await {
            Ok(nodes) => checks::refuse_unfit(&nodes, store.link.cluster),
            Err(error) => Err(error),
        };
        if let Err(error) = fit {
            store.close().await;
            return Err(error);
        }
        tracing::info!(url = store.config.shown_url(), cluster = store.link.cluster, "connected to redis");
        Ok(store)
    }

    /// Connects to a Redis that may be unfit, to find out in what way. Not for work: that is for [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`RedisError::Unreachable`] (retryable) and [`RedisError::Address`].
    pub async fn connect_to_examine(config: RedisConfig, metrics: RedisMetrics) -> Result<Self, RedisError> {
        Ok(Self { link: Arc::new(Link::connect(&config, metrics).await?), config, bus: Bus::default() })
    }

    /// What could be better about how Redis is set up; after [`connect`](Self::connect) nothing of it is
    /// fatal.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) when it cannot be asked.
    pub async fn findings(&self) -> Result<Vec<Finding>, RedisError> {
        let nodes = self.nodes().await?;
        let mut found: Vec<Finding> = nodes.iter().flat_map(|node| node.findings(self.link.cluster)).collect();
        found.dedup();
        Ok(found)
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<NodeInfo>, RedisError> {
        checks::nodes(&self.link.quick, self.link.cluster).await.map_err(RedisError::from)
    }

    /// The log epoch in use; `None` when nobody has put one since Redis was emptied.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) and [`RedisError::Answer`].
    pub async fn epoch(&self) -> Result<Option<LogEpoch>, RedisError> {
        epoch::current(&self.link, &self.config.key_prefix).await.map_err(RedisError::from)
    }

    /// The log epoch in use: the one that was put first. Every process offers one; all get the same.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) and [`RedisError::Answer`].
    pub async fn get_or_put_epoch(&self, candidate: LogEpoch) -> Result<LogEpoch, RedisError> {
        EpochKey::new(&self.config.key_prefix, candidate).get_or_put(&self.link).await.map_err(RedisError::from)
    }

    /// Puts another epoch in the place of `old`, because the log is another one. Returns the epoch in use then: `new`, or
    /// what somebody else put meanwhile.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) and [`RedisError::Answer`].
    pub async fn replace_epoch(&self, old: LogEpoch, new: LogEpoch) -> Result<LogEpoch, RedisError> {
        EpochKey::new(&self.config.key_prefix, old).replace(&self.link, new).await.map_err(RedisError::from)
    }

    /// The ports of one log epoch. `beginning` finds a place in the results log when Redis has no memory of it.
    pub fn ports(
        &self,
        epoch: LogEpoch,
        partitions: PartitionCount,
        clock: Arc<dyn Clock>,
        beginning: Arc<dyn Beginning>,
        metrics: PortMetrics,
    ) -> RedisPorts {
        let link = &self.link;
        let config = &self.config;
        let keys = Keys::new(&config.key_prefix, &config.channel_prefix, epoch, link.cluster);
        let notifier = RedisNotifier::new(
            Arc::clone(link),
            keys.clone(),
            partitions,
            config.queue,
            metrics.notifier,
            self.bus.clone(),
        );
        let mailbox = RedisMailbox::new(Parts {
            link: Arc::clone(link),
            epoch: EpochKey::new(&config.key_prefix, epoch),
            keys,
            partitions,
            limits: config.limits,
            clock,
            beginning,
            notifier: notifier.clone(),
            bus: self.bus.clone(),
            metrics: metrics.mailbox,
            cached_clients: config.cached_clients,
        });
        RedisPorts { mailbox, notifier }
    }

    /// Whether Redis answers, for readiness.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable).
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.link.quick.ping::<Value>(None).await.map(drop).map_err(|error| Failure::from(error).into())
    }

    /// Ends every subscription and leaves. Calls after it fail.
    pub async fn close(&self) {
        self.bus.close();
        self.link.close().await;
    }
}
