//! Tells servers what happened, at most once: whatever is missed is found by the offset chain and repaired from the
//! mailbox (rule 20 of the delivery rules).

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;

use crate::{ClientId, Partition, Position, ResultRecord, ServerId, SessionId, ports::log::Stored};

/// New results of one client, in offset order, after the fold.
#[derive(Debug, Clone)]
pub struct ClientResults {
    /// Whose.
    pub client: ClientId,
    /// The records.
    pub results: Arc<[Stored<ResultRecord>]>,
}

/// What a server is told.
#[derive(Debug, Clone)]
pub enum Notification {
    /// Results of clients that this server owns.
    Results {
        /// Of which partition.
        partition: Partition,
        /// The `last` of the notification of this (server, partition) before this one. Anything else than what the
        /// server remembers means that something was missed.
        previous: Position,
        /// Past the last record in here.
        last: Position,
        /// By client.
        clients: Vec<ClientResults>,
    },
    /// A newer session took the client over: end the old one.
    Superseded {
        /// Which client.
        client: ClientId,
        /// The session that lost it.
        session: SessionId,
    },
    /// Something may have been missed (overflow, reconnect, failover): repair every session from the mailbox.
    MayHaveMissed,
}

/// Why a notification could not be sent or a channel not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotifierError {
    /// The channel cannot be reached just now. Retryable.
    #[error("the notifier is unavailable: {0}")]
    Unavailable(String),
    /// The channel has ended, and nothing comes through it any more. Not retryable on this channel.
    #[error("the channel of notifications has ended")]
    Ended,
}

/// Publishes to servers and subscribes to one's own channel.
///
/// Results are published by the mailbox adapter itself when it applies a batch, so that both can be one atomic step;
/// this port carries everything else.
#[async_trait]
pub trait Notifier: Debug + Send + Sync {
    /// Subscribes to a server's own channel. The first thing it yields is [`Notification::MayHaveMissed`].
    ///
    /// # Errors
    /// [`NotifierError::Unavailable`] (retryable).
    async fn subscribe(&self, server: &ServerId) -> Result<Box<dyn Subscription>, NotifierError>;

    /// Sends one notification, at most once. A server that is not there is no error.
    ///
    /// # Errors
    /// [`NotifierError::Unavailable`] (retryable).
    async fn publish(&self, server: &ServerId, notification: Notification) -> Result<(), NotifierError>;
}

/// One server's channel. Dropping it unsubscribes.
#[async_trait]
pub trait Subscription: Debug + Send {
    /// Waits for the next notification; `None` when the notifier has shut down. Cancel safe. A bounded queue lies
    /// behind it: when it overflows, notifications are dropped, counted, and [`Notification::MayHaveMissed`] follows.
    async fn next(&mut self) -> Option<Notification>;
}
