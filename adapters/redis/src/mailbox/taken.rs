//! Sessions that lost their client to one at another server, and never heard of it.
//!
//! The word that says so is sent once, and may be lost; without it such a session would stay, and hear of no result any more.
//! So every claim that takes a client from another server counts that in Redis, in the same step, for the server it takes
//! it from. Whoever finds another count than the last time asks who holds the clients of its sessions now.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::join_all;
use nimbus_core::{Partition, mailbox::HeldClaim, ports::notifier::Notification};

use super::Inner;
use crate::{codec::owner, command::command, error::Failure};

/// Clients asked about in one command.
const AT_ONCE: usize = 512;

/// By partition: how many clients others had taken from this process when it last asked who holds them.
#[derive(Debug, Default)]
pub(super) struct Taken(Mutex<HashMap<Partition, u64>>);

impl Taken {
    fn is_news(&self, partition: Partition, count: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied().unwrap_or(0) != count
    }

    fn set(&self, partition: Partition, count: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, count);
    }
}

impl Inner {
    /// `counts`: as they were found just now, by partition. What cannot be asked is asked the next time.
    pub(super) async fn tell_who_lost(&self, counts: &[(Partition, u64)]) {
        let news: HashMap<Partition, u64> =
            counts.iter().copied().filter(|(partition, count)| self.taken.is_news(*partition, *count)).collect();
        if news.is_empty() {
            return;
        }
        let mut held: HashMap<Partition, Vec<HeldClaim>> = HashMap::new();
        for claim in self.held().of_those(|client| news.contains_key(&self.partitions.partition_of(client))) {
            held.entry(self.partitions.partition_of(&claim.claim.client)).or_default().push(claim);
        }
        // All at once: a node that does not answer holds up none of the others.
        let asking = news.into_iter().map(|(partition, count)| {
            let held = held.remove(&partition).unwrap_or_default();
            async move {
                match self.tell_of(partition, &held).await {
                    Ok(true) => self.taken.set(partition, count),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::debug!(%partition, %error, "who holds the clients of a partition cannot be asked")
                    }
                }
            }
        });
        join_all(asking).await;
    }

    /// `false`: what was read may be of another Redis than the claims are in, and says nothing.
    async fn tell_of(&self, partition: Partition, held: &[HeldClaim]) -> Result<bool, Failure> {
        let key = self.keys.partition(partition).owner();
        for some in held.chunks(AT_ONCE) {
            let fields = some.iter().map(|held| held.claim.client.as_str().into());
            let arguments = std::iter::once(key.as_str().into()).chain(fields).collect();
            let owners: Vec<Option<Bytes>> = command(&self.link.quick, "HMGET", arguments).await?;
            if !self.is_known(partition).await? {
                return Ok(false);
            }
            for (held, entry) in some.iter().zip(owners) {
                // Where there is no entry the memory was lost, and the session claims its client again.
                let holding = entry.as_ref().and_then(|entry| owner::decode(entry));
                if holding.is_some_and(|holding| holding.session() != Some(held.claim.session)) {
                    self.metrics.untold.inc();
                    let (client, session) = (held.claim.client.clone(), held.claim.session);
                    self.held().remove(&client, session);
                    self.bus.tell(&held.claim.server, &Notification::Superseded { client, session });
                }
            }
        }
        Ok(true)
    }
}
