//! Taking a client over, and giving it up.

use bytes::Bytes;
use nimbus_core::{
    ClientId, Partition, Position, ServerId, SessionId,
    mailbox::{
        ClaimChange, ClaimImage, ClientSnapshot, Granted, HeldClaim, PartitionMailbox, PartitionSnapshot, Rival,
        TOKEN_BYTES, Tenure,
    },
    ports::{
        mailbox::{Claim, ClaimError, ClaimKind, Claimed},
        notifier::Notification,
    },
};

use super::{ATTEMPTS, Inner, mend::is_damage};
use crate::{
    codec::{
        claims::{self, StoredClaims},
        owner::{self, Hands, Holding},
        seen::{self, Seen},
        tenure,
    },
    error::Failure,
    link::{decimal, text},
};

/// Everything about one client, at one instant.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) applied: Position,
    pub(super) born: Bytes,
    /// Where this memory began, if one before it was lost.
    refilled: Option<Position>,
    pub(super) claims_blob: Option<Bytes>,
    pub(super) claims: Option<StoredClaims>,
    pub(super) seen_blob: Option<Bytes>,
    pub(super) seen: Option<Seen>,
    pub(super) floor: Position,
    pub(super) kept: Option<Position>,
    pub(super) owner_blob: Option<Bytes>,
    pub(super) holding: Option<Holding>,
    tenure: Option<Tenure>,
}

/// Why a claim is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why<'a> {
    /// A session opens.
    New,
    /// Redis may have lost it: only if nobody newer holds the client.
    Again(&'a Tenure),
}

/// A claim that was made.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) claimed: Claimed,
    pub(super) token: [u8; TOKEN_BYTES],
    pub(super) tenure: Tenure,
}

/// How a claim that is made again can end badly.
#[derive(Debug)]
pub(super) enum Lost {
    /// A newer session holds the client.
    Superseded,
    /// As a claim ends.
    Refused(ClaimError),
    /// Redis did not do it.
    Failed(Failure),
}

impl Inner {
    pub(super) async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError> {
        self.meet().await.map_err(ClaimError::from)?;
        let token = rand::random();
        match self.claim_as(&claim, token, Why::New).await {
            Ok(won) => {
                let (claimed, client) = (won.claimed, claim.client.clone());
                // A Redis that has lost the claim of the session before does not name it, so that nobody would tell it.
                let replaced = self.held().insert(HeldClaim::new(claim, &claimed, won.token, won.tenure));
                if let Some((server, session)) = replaced
                    && claimed.previous.as_ref().is_none_or(|(_, told)| *told != session)
                {
                    self.bus.tell(&server, &Notification::Superseded { client, session });
                }
                Ok(claimed)
            }
            Err(Lost::Refused(error)) => Err(error),
            Err(Lost::Failed(failure)) => Err(failure.into()),
            // Only said to claims that are made again.
            Err(Lost::Superseded) => Err(ClaimError::Unavailable("a newer session holds the client".to_owned())),
        }
    }

    /// Read, decide, write if nothing changed.
    pub(super) async fn claim_as(
        &self,
        claim: &Claim,
        new_token: [u8; TOKEN_BYTES],
        why: Why<'_>,
    ) -> Result<Won, Lost> {
        let partition = self.partitions.partition_of(&claim.client);
        for _ in 0..ATTEMPTS {
            let mut repaired = self.memories.repaired();
            let holder = match self.holder(&claim.client).await {
                // The claim of a newer session of this client may be among those that were lost: first all are claimed again. Until
                // then this one would pass for the newest, and what is folded in for it be told to the other.
                Ok(Some(holder)) if matches!(why, Why::New) && !self.has_its_claims(partition, &holder).await? => {
                    self.wait_for_repair(&mut repaired).await?;
                    continue;
                }
                Ok(Some(holder)) => holder,
                Ok(None) => {
                    self.begin(partition).await?;
                    continue;
                }
                Err(Failure::Unreadable(error)) if is_damage(&error) => {
                    self.mend(&claim.client, Some(claim.session)).await?;
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            let before = holder.tenure.as_ref();
            let tenure = match why {
                Why::New => Tenure::begin(claim.session, before),
                Why::Again(held) if holder.keeps(&Rival::claiming(&claim.kind, held)) => return Err(Lost::Superseded),
                Why::Again(held) => held.again(before),
            };
            let (granted, image) = self.decide(claim, new_token, why, &holder).map_err(Lost::Refused)?;
            let on_its_way = matches!(why, Why::New).then(|| self.unsure.send(claim, holder.owner()));
            let written = self.write_claim(claim, &image, &tenure, &holder).await?;
            if let Some(on_its_way) = on_its_way {
                on_its_way.answered();
            }
            if let Some((applied, former)) = written {
                let previous = match former {
                    Some(Holding::Held { server, session }) if session != claim.session => Some((server, session)),
                    _ => None,
                };
                self.memories.first(partition, &holder.born);
                let claimed = Claimed { previous, applied, ..granted.claimed };
                return Ok(Won { claimed, token: image.token, tenure });
            }
            self.link.metrics.conflicts.inc();
        }
        Err(Failure::Unavailable("the client is being claimed all the time".to_owned()).into())
    }

    /// Whether this is the memory in which the claims of this process are.
    async fn has_its_claims(&self, partition: Partition, holder: &Holder) -> Result<bool, Failure> {
        Ok(self.is_known(partition).await? && !self.memories.is_other(partition, Some(holder.born.clone())))
    }

    /// What the rules say: a mailbox with this one client in it is asked.
    fn decide(
        &self,
        claim: &Claim,
        token: [u8; TOKEN_BYTES],
        why: Why<'_>,
        holder: &Holder,
    ) -> Result<(Granted, ClaimImage), ClaimError> {
        let mut rules = PartitionMailbox::new(self.partitions.partition_of(&claim.client), self.limits);
        let clients = holder.snapshot(&claim.client).into_iter().collect();
        rules.restore(PartitionSnapshot { version: 0, applied: holder.applied, floor: Position::START, clients });
        if let Some(began) = holder.refilled {
            rules.came_after_a_loss(began);
        }
        let now = self.clock.now();
        let granted = match why {
            Why::New => rules.claim(claim, token, now)?,
            Why::Again(held) => rules.claim_again(claim, held, holder.tenure.as_ref(), token, now)?,
        };
        match &granted.change {
            ClaimChange::Image(image) => {
                let image = (**image).clone();
                Ok((granted, image))
            }
            ClaimChange::Kept { .. } => Err(ClaimError::Unavailable("a claim changed only a position".to_owned())),
        }
    }

    /// `None`: something had changed. Otherwise how far the partition is folded in, and who held the client until now.
    async fn write_claim(
        &self,
        claim: &Claim,
        image: &ClaimImage,
        tenure: &Tenure,
        holder: &Holder,
    ) -> Result<Option<(Position, Option<Holding>)>, Failure> {
        let (_, keys) = self.partition_keys(&claim.client);
        let before = holder.claims.as_ref().and_then(|claims| claims.image.principal.as_ref());
        let changes_hands = before.is_some_and(|before| Some(before) != image.principal.as_ref());
        let hands = match &holder.claims {
            Some(claims) if before.is_some() && !changes_hands => claims.hands,
            _ => new_hands(),
        };
        let is_original = matches!(claim.kind, ClaimKind::Original);
        let stored = StoredClaims { hands, image: image.clone() };
        let arguments = vec![
            // The floor of a change of hands was decided on `applied`; nothing else was.
            if changes_hands { decimal(holder.applied.0) } else { Bytes::new() },
            holder.born.clone(),
            text(claim.client.as_str()),
            claims::revision(holder.claims_blob.as_ref()),
            claims::encode(&stored, rand::random()),
            owner::encode(hands, &claim.server, claim.session, is_original),
            text(claim.server.as_str()),
            Bytes::from_static(if changes_hands { b"1" } else { b"0" }),
            if changes_hands { decimal(image.floor.0) } else { Bytes::new() },
            image.kept.map(|kept| decimal(kept.0)).unwrap_or_default(),
            tenure::encode(tenure),
        ];
        let all = vec![
            keys.head(),
            keys.claim(),
            keys.owner(),
            keys.seen(),
            keys.floors(),
            keys.kept(),
            keys.waiting(),
            keys.notified(),
            keys.stream(&claim.client),
            keys.tenure(),
            keys.taken(),
        ];
        let mut answer = self.link.call(&self.link.quick, &self.link.scripts.claim, all, arguments).await?.list()?;
        if answer.item()?.number()? != 0 {
            return Ok(None);
        }
        let applied = Position(answer.item()?.number()?);
        // An array ends where its answer is nothing: then nobody ever held it.
        let former = answer.next().and_then(|former| former.bytes()).and_then(|former| owner::decode(&former));
        Ok(Some((applied, former)))
    }

    /// `None`: Redis has no memory of the partition.
    pub(super) async fn holder(&self, client: &ClientId) -> Result<Option<Holder>, Failure> {
        let (_, keys) = self.partition_keys(client);
        let all = vec![keys.head(), keys.claim(), keys.seen(), keys.floors(), keys.kept(), keys.owner(), keys.tenure()];
        let arguments = vec![text(client.as_str())];
        let mut answer = self.link.call(&self.link.quick, &self.link.scripts.holder, all, arguments).await?.list()?;
        let mut head = answer.item()?.list()?;
        let (applied, born) = (head.item()?.number_if_any()?, head.item()?.bytes());
        let (Some(applied), Some(born)) = (applied, born) else { return Ok(None) };
        // Nothing at the end of a list may not be there at all.
        let refilled = head.next().map_or(Ok(None), |refilled| refilled.number_if_any())?.map(Position);
        let (claims_blob, seen_blob) = (answer.item()?.bytes(), answer.item()?.bytes());
        let (floor, kept) = (answer.item()?.number_if_any()?, answer.item()?.number_if_any()?);
        let owner_blob = answer.item()?.bytes();
        let tenure_blob = answer.item()?.bytes();
        let holding = owner_blob.as_ref().and_then(|blob| owner::decode(blob));
        let session = holding.as_ref().and_then(Holding::session);
        Ok(Some(Holder {
            applied: Position(applied),
            born,
            refilled,
            claims: claims_blob.as_ref().map(|blob| claims::decode(client, blob)).transpose()?,
            claims_blob,
            seen: seen_blob.as_ref().map(|blob| seen::decode(blob)).transpose()?,
            seen_blob,
            floor: Position(floor.unwrap_or(0)),
            kept: kept.map(Position),
            tenure: tenure::of_holder(tenure_blob.as_ref(), session),
            holding,
            owner_blob,
        }))
    }

    /// Whether the session held the client until now.
    pub(super) async fn release(&self, client: &ClientId, session: SessionId) -> Result<bool, Failure> {
        self.held().remove(client, session);
        let (_, keys) = self.partition_keys(client);
        let arguments = vec![text(client.as_str()), owner::session_bytes(session), owner::free_since(self.clock.now())];
        let script = &self.link.scripts.release;
        Ok(self.link.call(&self.link.quick, script, vec![keys.owner()], arguments).await?.number()? == 1)
    }
}

impl Holder {
    /// For the rules; `None` when nothing is known of the client.
    pub(super) fn snapshot(&self, client: &ClientId) -> Option<ClientSnapshot> {
        if self.claims.is_none() && self.seen.is_none() {
            return None;
        }
        let mut image = self.claims.as_ref().map_or_else(|| nobody(client), |claims| claims.image.clone());
        image.floor = image.floor.max(self.floor);
        image.kept = self.kept;
        if let Some(Holding::Free { since }) = &self.holding {
            image.touched = image.touched.max(*since);
        }
        let seen = self.seen.as_ref();
        Some(ClientSnapshot {
            claims: image,
            last: seen.map_or(Position::START, |seen| seen.last),
            fold: seen.map(|seen| seen.fold.outboxes().to_vec()).unwrap_or_default(),
        })
    }

    /// Whether the client is held by a session that is newer than the one that claims it again.
    fn keeps(&self, claim: &Rival<'_>) -> bool {
        let (Some(_), Some(tenure)) = (self.owner(), &self.tenure) else { return false };
        let current = self.claims.as_ref().and_then(|claims| claims.image.current);
        let numbered = current.map(|current| (current.outbox, current.session_no));
        Rival { numbered, tenure }.stays(claim)
    }

    /// Who holds the client now.
    pub(super) fn owner(&self) -> Option<(&ServerId, SessionId)> {
        match self.holding.as_ref()? {
            Holding::Held { server, session } => Some((server, *session)),
            Holding::Free { .. } => None,
        }
    }
}

/// The claims of a client that has only had results so far.
fn nobody(client: &ClientId) -> ClaimImage {
    ClaimImage {
        version: 0,
        client: client.clone(),
        principal: None,
        token: [0; TOKEN_BYTES],
        current: None,
        retired: Vec::new(),
        kept: None,
        floor: Position::START,
        touched: Default::default(),
    }
}

/// Never all zeros: that is nobody's.
fn new_hands() -> Hands {
    Hands((rand::random::<u64>() | 1).to_le_bytes())
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

#[cfg(test)]
impl super::RedisMailbox {
    /// Claims all again; `between` happens once it is known whom.
    pub(crate) async fn claim_again_after(&self, between: impl AsyncFnOnce()) -> Result<(), Failure> {
        let all = self.0.held().of_those(|_| true);
        between().await;
        self.0.claim_all_again(all).await
    }

    /// A claim for which Redis stops between its decision and its writing.
    pub(crate) async fn claim_on_a_stopped_redis(&self, claim: Claim, stop: impl Fn()) -> Result<(), Failure> {
        let holder = self.0.holder(&claim.client).await?.ok_or_else(|| Failure::Unavailable(String::new()))?;
        let decided = self.0.decide(&claim, [3; TOKEN_BYTES], Why::New, &holder);
        let (_, image) = decided.map_err(|error| Failure::Unavailable(error.to_string()))?;
        stop();
        let on_its_way = self.0.unsure.send(&claim, holder.owner());
        let tenure = Tenure::begin(claim.session, holder.tenure.as_ref());
        self.0.write_claim(&claim, &image, &tenure, &holder).await?;
        on_its_way.answered();
        Ok(())
    }
}
