//! The way in: connects, checks, finds the log epoch, and makes the two ports.

use std::sync::Arc;

use fred::{
    interfaces::{ClientLike as _, KeysInterface as _, LuaInterface as _},
    types::{SetOptions, Value},
};
use nimbus_core::{LogEpoch, PartitionCount, clock::Clock};
use ulid::Ulid;

use crate::{
    checks::{self, NodeInfo},
    config::RedisConfig,
    error::{Failure, Finding, RedisError},
    keys::{self, Keys},
    link::Link,
    mailbox::{Beginning, MailboxMetrics, Parts, RedisMailbox},
    metrics::RedisMetrics,
    notifier::{Bus, NotifierMetrics, RedisNotifier},
};

/// A Redis that is fit for use. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct RedisStore {
    pub(crate) link: Arc<Link>,
    config: RedisConfig,
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

/// Replaces the epoch, if it still is the one that was read.
const REPLACE_EPOCH: &str = "#!lua\nlocal now = redis.call('GET', KEYS[1])\nif now == ARGV[1] then\n  \
                             redis.call('SET', KEYS[1], ARGV[2])\n  return ARGV[2]\nend\nreturn now\n";

impl RedisStore {
    /// Connects, and refuses a Redis that would lose what it is given. Afterwards a lost connection is made again, with
    /// growing pauses; until then calls fail as unavailable.
    ///
    /// # Errors
    /// [`RedisError::Unreachable`] (retryable), [`RedisError::Unfit`] and [`RedisError::Address`] (not before somebody has
    /// done what it says).
    pub async fn connect(config: RedisConfig, metrics: RedisMetrics) -> Result<Self, RedisError> {
        let store = Self { link: Arc::new(Link::connect(&config, metrics).await?), config, bus: Bus::default() };
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

    /// What could be better about how Redis is set up; nothing of it is fatal, or [`connect`](Self::connect) had refused.
    ///
    /// # Errors
    /// [`RedisError::Answer`] when it cannot be asked.
    pub async fn findings(&self) -> Result<Vec<Finding>, RedisError> {
        let nodes = self.nodes().await?;
        let mut found: Vec<Finding> = nodes.iter().flat_map(|node| node.findings(self.link.cluster)).collect();
        found.dedup();
        Ok(found)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, RedisError> {
        checks::nodes(&self.link.quick, self.link.cluster).await.map_err(answer)
    }

    /// The log epoch in use; `None` when nobody has put one since Redis was emptied.
    ///
    /// # Errors
    /// [`RedisError::Answer`].
    pub async fn epoch(&self) -> Result<Option<LogEpoch>, RedisError> {
        let key = keys::epoch(&self.config.key_prefix);
        let epoch: Option<String> = self.link.quick.get(&key).await.map_err(|error| answer(error.into()))?;
        epoch.map(|epoch| parse_epoch(&epoch)).transpose()
    }

    /// The log epoch in use: the one that was put first. Every process offers one; all get the same.
    ///
    /// # Errors
    /// [`RedisError::Answer`].
    pub async fn get_or_put_epoch(&self, candidate: LogEpoch) -> Result<LogEpoch, RedisError> {
        let key = keys::epoch(&self.config.key_prefix);
        let client = &self.link.quick;
        let put = client.set::<Value, _, _>(&key, candidate.to_string(), None, Some(SetOptions::NX), false).await;
        put.map_err(|error| answer(error.into()))?;
        let epoch: String = client.get(&key).await.map_err(|error| answer(error.into()))?;
        parse_epoch(&epoch)
    }

    /// Puts another epoch in the place of `old`, because the log is another one. Returns the epoch in use then: `new`, or
    /// what somebody else put meanwhile.
    ///
    /// # Errors
    /// [`RedisError::Answer`].
    pub async fn replace_epoch(&self, old: LogEpoch, new: LogEpoch) -> Result<LogEpoch, RedisError> {
        let key = keys::epoch(&self.config.key_prefix);
        let arguments = vec![old.to_string(), new.to_string()];
        let epoch = self.link.quick.eval::<Option<String>, _, _, _>(REPLACE_EPOCH, key, arguments).await;
        match epoch.map_err(|error| answer(error.into()))? {
            Some(epoch) => parse_epoch(&epoch),
            // Redis was emptied meanwhile.
            None => self.get_or_put_epoch(new).await,
        }
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
    /// [`RedisError::Answer`]; retryable.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.link.quick.ping::<Value>(None).await.map(drop).map_err(|error| answer(error.into()))
    }

    /// Ends every subscription and leaves. Calls after it fail.
    pub async fn close(&self) {
        self.bus.close();
        self.link.close().await;
    }
}

fn answer(failure: Failure) -> RedisError {
    RedisError::Answer(failure.to_string())
}

fn parse_epoch(text: &str) -> Result<LogEpoch, RedisError> {
    let parsed = Ulid::from_string(text);
    parsed.map(LogEpoch).map_err(|_| RedisError::Answer(format!("{text:?} where the log epoch should be")))
}
