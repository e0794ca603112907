//! What one incarnation remembers of its own claims: to make them again when the memory was lost, and to undo those of which
//! it never heard. As the adapter over Redis does it.

use std::{cmp::Ordering, collections::BTreeMap};

use nimbus_core::{
    ClientId, Partition, ServerId, SessionId,
    mailbox::{Rival, TOKEN_BYTES, Tenure},
    ports::mailbox::{Claim, ClaimKind, Claimed},
};

/// One claim, so that making it again finds the client as it was.
#[derive(Debug, Clone)]
pub(super) struct HeldClaim {
    pub(super) claim: Claim,
    pub(super) token: [u8; TOKEN_BYTES],
    pub(super) tenure: Tenure,
}

impl HeldClaim {
    pub(super) fn rival(&self) -> Rival<'_> {
        Rival::claiming(&self.claim.kind, &self.tenure)
    }
}

/// A claim whose answer never came.
#[derive(Debug)]
pub(super) struct UnsureClaim {
    pub(super) client: ClientId,
    pub(super) session: SessionId,
    pub(super) former: Option<(ServerId, SessionId)>,
}

/// Which memory something was found in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recollection {
    pub(super) partition: Partition,
    pub(super) born: u64,
    pub(super) replication: u64,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    held: BTreeMap<ClientId, HeldClaim>,
    pub(super) unsure: Vec<UnsureClaim>,
    /// By partition: which memory it was.
    born: BTreeMap<Partition, u64>,
    replication: Option<u64>,
    /// Not everything was claimed again yet in the memory that is known now.
    is_partial: bool,
}

impl Notes {
    /// Says whose session is not kept any more by that.
    pub(super) fn hold(
        &mut self,
        claim: Claim,
        claimed: &Claimed,
        token: [u8; TOKEN_BYTES],
        tenure: Tenure,
    ) -> Option<(ServerId, SessionId)> {
        let kind = match claim.kind {
            ClaimKind::Sdk { outbox, session_no, .. } => ClaimKind::Sdk { outbox, session_no, token: None },
            ClaimKind::Original => ClaimKind::Original,
        };
        let held = HeldClaim { claim: Claim { kind, log_end: claimed.start, ..claim }, token, tenure };
        let other = self.held.get(&held.claim.client);
        let is_older = other.is_some_and(|other| held.rival().compare(&other.rival()) == Some(Ordering::Less));
        if is_older {
            return None;
        }
        let (client, session) = (held.claim.client.clone(), held.claim.session);
        let replaced = self.held.insert(client, held).map(|other| (other.claim.server, other.claim.session));
        replaced.filter(|(_, other)| *other != session)
    }

    /// What is known of a session since it was claimed again.
    pub(super) fn renew(&mut self, client: &ClientId, tenure: Tenure) {
        if let Some(held) = self.held.get_mut(client)
            && held.claim.session == tenure.session
        {
            held.tenure = tenure;
        }
    }

    pub(super) fn drop_held(&mut self, client: &ClientId, session: SessionId) {
        if self.held.get(client).is_some_and(|held| held.claim.session == session) {
            self.held.remove(client);
        }
    }

    pub(super) fn all_held(&self) -> Vec<HeldClaim> {
        self.held.values().cloned().collect()
    }

    /// What is found first is what is to be expected from now on.
    pub(super) fn first(&mut self, seen: Recollection) {
        self.born.entry(seen.partition).or_insert(seen.born);
        self.replication.get_or_insert(seen.replication);
    }

    /// Whether this is the memory that is known now, or one after it.
    pub(super) fn is_current(&self, seen: Recollection) -> bool {
        self.born.get(&seen.partition).is_none_or(|born| *born <= seen.born)
            && self.replication.is_none_or(|replication| replication <= seen.replication)
    }

    pub(super) fn has(&self, client: &ClientId, session: SessionId) -> bool {
        self.held.get(client).is_some_and(|held| held.claim.session == session)
    }

    /// Whether this is another memory than before.
    pub(super) fn differ(&mut self, born: &[(Partition, u64)], replication: u64) -> bool {
        let replaced = self.replication.is_some_and(|known| known != replication);
        let emptied = born.iter().any(|(partition, born)| self.born.get(partition).is_some_and(|known| known != born));
        if !replaced && !emptied {
            let seen =
                |(partition, born): &(Partition, u64)| Recollection { partition: *partition, born: *born, replication };
            born.iter().map(seen).for_each(|seen| self.first(seen));
        }
        replaced || emptied || self.is_partial
    }

    /// Everything is going to be claimed again in this memory.
    pub(super) fn accept(&mut self, born: Vec<(Partition, u64)>, replication: u64) {
        self.born.extend(born);
        self.replication = Some(replication);
        self.is_partial = true;
    }

    /// And it was.
    pub(super) fn is_whole(&mut self) {
        self.is_partial = false;
    }
}
