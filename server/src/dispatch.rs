//! Brings notifications to the sessions they are for, and finds those that went missing.
//!
//! Every notification names the end of the one before it; a break in that chain, an overflow or a reconnect makes the
//! sessions of the partition read their mailbox. The last message before a silence leaves no break behind it: so once a
//! second the mailbox is asked how far it is (rule 20). Nothing polls per client.
//!
//! A mailbox that does not answer holds nothing up: notifications are handed out while it is asked. What it answers is from
//! before them, so a chain that has come further in the meantime shows no less than it would have shown then.

use std::sync::Arc;

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Fuse, FusedFuture as _},
};
use nimbus_core::{
    Partition, Position,
    ports::{
        mailbox::{Head, MailboxError},
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

/// Runs until `stop` is cancelled.
///
/// # Errors
/// The channel could not be opened, or has ended.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), NotifierError> {
    let subscription = shared.ports.notifier.subscribe(&shared.config.server).await?;
    let partitions = shared.ports.results.partitions();
    let dispatcher = Dispatcher {
        chains: vec![Chain::default(); partitions.len()],
        partitions: partitions.all().collect(),
        is_silent: false,
        shared,
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = dispatcher.run(subscription) => Err(NotifierError::Ended),
    }
}

struct Dispatcher {
    shared: Arc<Shared>,
    partitions: Arc<[Partition]>,
    chains: Vec<Chain>,
    /// The mailbox did not answer the last time.
    is_silent: bool,
}

/// What the mailbox says to a check.
type Asked = (CheckNo, Result<Vec<Head>, MailboxError>);

impl Dispatcher {
    /// Until the channel ends.
    async fn run(mut self, mut subscription: Box<dyn Subscription>) {
        let period = self.shared.config.repair_interval;
        let mut check = interval(period);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        let mut asking: Fuse<BoxFuture<'static, Asked>> = Fuse::terminated();
        let mut flushing: Fuse<BoxFuture<'static, ()>> = Fuse::terminated();
        loop {
            tokio::select! {
                biased;
                // The check comes first when it is due, or a steady stream of notifications would starve it.
                _ = check.tick(), if asking.is_terminated() => {
                    asking = self.ask().fuse();
                    if flushing.is_terminated() {
                        let shared = Arc::clone(&self.shared);
                        flushing = async move { shared.acks.flush(&shared).await }.boxed().fuse();
                    }
                    rounds = rounds.wrapping_add(1);
                    if rounds.is_multiple_of(SWEEP_EVERY) {
                        self.shared.rate.sweep();
                    }
                }
                asked = &mut asking, if !asking.is_terminated() => self.check(asked),
                () = &mut flushing, if !flushing.is_terminated() => {}
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
                    self.repair(Some(partition), previous);
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
                self.repair(None, Position::START);
            }
        }
    }

    fn ask(&self) -> BoxFuture<'static, Asked> {
        let (shared, partitions) = (Arc::clone(&self.shared), Arc::clone(&self.partitions));
        // Before it is asked: a session that reads meanwhile has not read less than it says.
        let number = shared.bookmarks.check();
        async move { (number, shared.ports.mailbox.heads(&shared.config.server, &partitions).await) }.boxed()
    }

    /// Compares the chain with the mailbox. What is ahead may still be on its way, so it gets until the next check.
    fn check(&mut self, (number, heads): Asked) {
        let heads = match heads {
            Ok(heads) => heads,
            // Said once for as long as it lasts.
            Err(error) if self.is_silent => return tracing::debug!(%error, "the mailbox still cannot be asked"),
            Err(error) => {
                self.is_silent = true;
                return tracing::warn!(%error, "the mailbox cannot be asked how far it is");
            }
        };
        if std::mem::take(&mut self.is_silent) {
            tracing::info!("the mailbox says again how far it is");
        }
        for head in heads {
            let chain = &mut self.chains[head.partition.0 as usize];
            let known = chain.last.unwrap_or_default();
            let overdue = chain.suspect.is_some_and(|(_, suspect)| suspect.notified > known);
            if overdue {
                tracing::debug!(partition = %head.partition, "a notification never came");
                self.shared.metrics.missed_notifications.inc();
                chain.last = Some(head.notified);
                chain.suspect = None;
                self.repair(Some(head.partition), head.notified);
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

    /// What was missed ended at `reach`, as far as that is known.
    fn repair(&self, partition: Option<Partition>, reach: Position) {
        self.shared.metrics.repairs.inc();
        self.shared.registry.missed(partition, reach);
    }
}

#[cfg(test)]
mod tests;
