//! Brings notifications to the sessions they are for, and finds those that went missing.
//!
//! Every notification names the end of the one before it; a break in that chain, an overflow or a reconnect makes the
//! sessions of the partition read their mailbox. The last message before a silence leaves no break behind it: so once a
//! second the mailbox is asked how far it is (rule 20). Nothing polls per client.

use std::sync::Arc;

use nimbus_core::{
    Partition, Position,
    ports::{
        mailbox::Head,
        notifier::{Notification, NotifierError, Subscription},
    },
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::shared::{CheckNo, Shared};

/// How often the rate limiter forgets clients that have been quiet, in repair intervals.
const SWEEP_EVERY: u32 = 60;

/// What is known of one partition.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    /// The end of the last notification; `None` before the first.
    last: Option<Position>,
    /// A head that was ahead of the chain at the last check. If the chain has not caught up by the next, it is broken.
    suspect: Option<(CheckNo, Head)>,
}

/// Runs until the notifier ends or `stop` is cancelled.
///
/// # Errors
/// The channel could not be opened.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), NotifierError> {
    let subscription = shared.ports.notifier.subscribe(&shared.config.server).await?;
    let partitions = shared.ports.results.partitions();
    let dispatcher =
        Dispatcher { chains: vec![Chain::default(); partitions.len()], partitions: partitions.all().collect(), shared };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = dispatcher.run(subscription) => {}
    }
    Ok(())
}

struct Dispatcher {
    shared: Arc<Shared>,
    partitions: Vec<Partition>,
    chains: Vec<Chain>,
}

impl Dispatcher {
    async fn run(mut self, mut subscription: Box<dyn Subscription>) {
        let period = self.shared.config.repair_interval;
        let mut check = interval(period);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        loop {
            tokio::select! {
                biased;
                // The check comes first when it is due, or a steady stream of notifications would starve it.
                _ = check.tick() => {
                    self.check().await;
                    self.shared.acks.flush(&self.shared).await;
                    rounds = rounds.wrapping_add(1);
                    if rounds.is_multiple_of(SWEEP_EVERY) {
                        self.shared.rate.sweep();
                    }
                }
                notification = subscription.next() => match notification {
                    Some(notification) => self.notified(notification),
                    None => return,
                },
            }
        }
    }

    fn notified(&mut self, notification: Notification) {
        match notification {
            Notification::Results { partition, previous, last, clients } => {
                let chain = &mut self.chains[partition.0 as usize];
                // Any inequality, backwards too: a failover may have taken the chain back. What came before the first one that
                // is heard was heard only if there was nothing.
                let broken = chain.last.unwrap_or_default() != previous;
                chain.last = Some(last);
                if broken {
                    // Before the results are handed out: a session must not send what lies behind a hole.
                    tracing::debug!(%partition, %previous, "the chain of notifications broke");
                    self.shared.metrics.missed_notifications.inc();
                    self.repair(Some(partition));
                }
                for one in &clients {
                    if !self.shared.registry.deliver(&one.client, &one.results) {
                        self.shared.metrics.inbox_overflows.inc();
                    }
                }
            }
            Notification::Superseded { client, session } => self.shared.registry.supersede(&client, session),
            Notification::MayHaveMissed => {
                self.chains.fill(Chain::default());
                self.repair(None);
            }
        }
    }

    /// Compares the chain with the mailbox. What is ahead may still be on its way, so it gets until the next check.
    async fn check(&mut self) {
        let number = self.shared.bookmarks.check();
        let heads = match self.shared.ports.mailbox.heads(&self.shared.config.server, &self.partitions).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::warn!(%error, "the mailbox cannot be asked how far it is");
                return;
            }
        };
        for head in heads {
            let chain = &mut self.chains[head.partition.0 as usize];
            let known = chain.last.unwrap_or_default();
            let overdue = chain.suspect.is_some_and(|(_, suspect)| suspect.notified > known);
            if overdue {
                tracing::debug!(partition = %head.partition, "a notification never came");
                self.shared.metrics.missed_notifications.inc();
                chain.last = Some(head.notified);
                chain.suspect = None;
                self.repair(Some(head.partition));
                continue;
            }
            if let Some((earlier, suspect)) = chain.suspect
                && known >= suspect.notified
            {
                // Everything up to that head has been put into inboxes by now.
                self.shared.bookmarks.set(suspect.partition, earlier, suspect.applied);
            }
            if known >= head.notified {
                self.shared.bookmarks.set(head.partition, number, head.applied);
                chain.suspect = None;
            } else {
                chain.suspect = Some((number, head));
            }
        }
    }

    fn repair(&self, partition: Option<Partition>) {
        self.shared.metrics.repairs.inc();
        self.shared.registry.missed(partition);
    }
}

#[cfg(test)]
mod tests;
