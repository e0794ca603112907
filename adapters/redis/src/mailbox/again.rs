//! Claiming everything again after Redis was emptied or replaced; and undoing claims of which nobody knows whether they were
//! made.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt as _, future::join_all, stream};
use nimbus_core::{
    ClientId, Partition, ServerId, SessionId,
    mailbox::{Held, HeldClaim},
    ports::{
        mailbox::{Claim, ClaimError},
        notifier::Notification,
    },
};

use super::{
    Inner,
    claim::{Lost, Why},
};
use crate::error::Failure;

/// Claims under way at the same time.
const AT_ONCE: usize = 64;

/// Unsure claims that are remembered. Beyond it they are forgotten: a session that lost its client to one of them then hears
/// of no result any more, until it ends or its client connects again.
const UNSURE: usize = 4_096;

/// Claims whose answer never came, or was not waited for: their sessions will never open, but may hold the client.
#[derive(Debug, Default)]
pub(super) struct Unsure(Mutex<Vec<UnsureClaim>>);

#[derive(Debug)]
struct UnsureClaim {
    client: ClientId,
    session: SessionId,
    former: Option<(ServerId, SessionId)>,
    /// It was, and is undone; the session that lost its client may not have been told yet.
    was_made: bool,
}

/// A claim on its way: noted as unsure when it is dropped before its answer is there.
#[derive(Debug)]
pub(super) struct OnItsWay<'a> {
    unsure: &'a Unsure,
    claim: Option<UnsureClaim>,
}

impl OnItsWay<'_> {
    /// It is known what became of it.
    pub(super) fn answered(mut self) {
        self.claim = None;
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.unsure.note(self.claim.take());
    }
}

impl Unsure {
    /// To be called before the claim is sent.
    pub(super) fn send(&self, claim: &Claim, former: Option<(&ServerId, SessionId)>) -> OnItsWay<'_> {
        let former = former.map(|(server, session)| (server.clone(), session));
        let claim = UnsureClaim { client: claim.client.clone(), session: claim.session, former, was_made: false };
        OnItsWay { unsure: self, claim: Some(claim) }
    }

    fn note(&self, claim: Option<UnsureClaim>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < UNSURE {
            all.extend(claim);
        }
    }

    fn take(&self) -> Vec<UnsureClaim> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, left: Vec<UnsureClaim>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }
}

impl Inner {
    /// Every change of it is one call.
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up what unsure claims took after all, and tells the sessions that lost their clients to them: they would wait
    /// for notifications for ever.
    ///
    /// Returns the partitions in which some are left, and why.
    pub(super) async fn settle_unsure(&self) -> (HashSet<Partition>, Option<Failure>) {
        let mut by_partition: HashMap<Partition, Vec<UnsureClaim>> = HashMap::new();
        for claim in self.unsure.take() {
            by_partition.entry(self.partitions.partition_of(&claim.client)).or_default().push(claim);
        }
        let settled = by_partition.into_iter().map(|(partition, claims)| async move {
            let failure = self.settle_all(claims).await?;
            Some((partition, failure))
        });
        let (mut left, mut why) = (HashSet::new(), None);
        for (partition, failure) in join_all(settled).await.into_iter().flatten() {
            left.insert(partition);
            why = Some(failure);
        }
        (left, why)
    }

    /// Those of one partition; why some are left.
    async fn settle_all(&self, mut claims: Vec<UnsureClaim>) -> Option<Failure> {
        while let Some(claim) = claims.last_mut() {
            if let Err(failure) = self.settle(claim).await {
                self.unsure.put_back(claims);
                return Some(failure);
            }
            claims.pop();
        }
        None
    }

    async fn settle(&self, claim: &mut UnsureClaim) -> Result<(), Failure> {
        claim.was_made |= self.release(&claim.client, claim.session).await?;
        if claim.was_made
            && let Some((server, session)) = &claim.former
        {
            let note = Notification::Superseded { client: claim.client.clone(), session: *session };
            self.notifier.send(server, &note).await?;
        }
        Ok(())
    }

    /// Every client of these partitions that a session of this process holds is claimed for that session again. A session
    /// that lost its client to a newer one is told so. Fails when Redis does; then it is to be done again, which does no harm.
    pub(super) async fn claim_again(&self, is_asked: impl Fn(Partition) -> bool) -> Result<(), Failure> {
        let all = self.held().of_those(|client| is_asked(self.partitions.partition_of(client)));
        self.claim_all_again(all).await
    }

    pub(super) async fn claim_all_again(&self, all: Vec<HeldClaim>) -> Result<(), Failure> {
        let mut outcomes = stream::iter(all).map(|held| self.claim_one_again(held)).buffer_unordered(AT_ONCE);
        let mut unreadable = None;
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                // Of this client alone: the others are claimed first.
                Err(failure @ Failure::Unreadable(_)) => unreadable = Some(failure),
                outcome => outcome?,
            }
        }
        unreadable.map_or(Ok(()), Err)
    }

    async fn claim_one_again(&self, held: HeldClaim) -> Result<(), Failure> {
        let HeldClaim { claim, token, tenure } = held;
        let outcome = self.claim_as(&claim, token, Why::Again(&tenure)).await;
        if !self.held().has(&claim.client, claim.session) {
            // The session ended meanwhile, and its release may have come before this. From here on the order is certain:
            // whoever ends later finds what was written.
            self.release(&claim.client, claim.session).await?;
            return Ok(());
        }
        match outcome {
            Ok(won) => {
                self.held().renew(&claim.client, won.tenure);
                if let Some((server, session)) = won.claimed.previous {
                    let note = Notification::Superseded { client: claim.client.clone(), session };
                    self.notifier.send(&server, &note).await?;
                }
                Ok(())
            }
            Err(Lost::Superseded | Lost::Refused(ClaimError::Stale { .. } | ClaimError::WrongToken)) => {
                self.held().remove(&claim.client, claim.session);
                let note = Notification::Superseded { client: claim.client.clone(), session: claim.session };
                self.bus.tell(&claim.server, &note);
                Ok(())
            }
            Err(Lost::Refused(ClaimError::Unavailable(why))) => Err(Failure::Unavailable(why)),
            Err(Lost::Failed(failure)) => Err(failure),
        }
    }
}
