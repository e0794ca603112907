//! The clients that sessions of this process hold: what it takes to claim them again when Redis has lost them.
//!
//! One entry for each session that is open here: bounded by the sessions the server admits.

use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nimbus_core::{
    ClientId, Position, ServerId, SessionId,
    mailbox::{Rival, TOKEN_BYTES, Tenure},
    ports::mailbox::{Claim, ClaimKind},
};

use super::claim::Won;

/// One claim, so that making it again finds the client as it was.
#[derive(Debug, Clone)]
pub(super) struct HeldClaim {
    /// Its `log_end` is where the outbox began, or how far the client of the original protocol is.
    pub(super) claim: Claim,
    /// The client shows it at its next resume, so it must stay.
    pub(super) token: [u8; TOKEN_BYTES],
    /// Which sessions it came after, so that none of them passes for newer.
    pub(super) tenure: Tenure,
}

impl HeldClaim {
    pub(super) fn new(claim: Claim, won: Won) -> Self {
        let Won { claimed, token, tenure } = won;
        let kind = match claim.kind {
            // The token that was checked is not to be checked against a memory that has lost it.
            ClaimKind::Sdk { outbox, session_no, .. } => ClaimKind::Sdk { outbox, session_no, token: None },
            ClaimKind::Original => ClaimKind::Original,
        };
        Self { claim: Claim { kind, log_end: claimed.start, ..claim }, token, tenure }
    }

    fn rival(&self) -> Rival<'_> {
        Rival::claiming(&self.claim.kind, &self.tenure)
    }
}

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashMap<ClientId, HeldClaim>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, HeldClaim>> {
        // Every change of the map is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the newer of two claims of one client. Says whose session is not kept any more by that: it is not claimed again, so it
    /// has to be told that it has lost its client, if nobody else tells it.
    pub(super) fn insert(&self, held: HeldClaim) -> Option<(ServerId, SessionId)> {
        let mut all = self.lock();
        // Two sessions of one client may claim at the same time; the newer one's answer may come first.
        let other = all.get(&held.claim.client);
        let is_older = other.is_some_and(|other| held.rival().compare(&other.rival()) == Some(Ordering::Less));
        if is_older {
            return None;
        }
        let (client, session) = (held.claim.client.clone(), held.claim.session);
        let replaced = all.insert(client, held).map(|other| (other.claim.server, other.claim.session));
        replaced.filter(|(_, other)| *other != session)
    }

    pub(super) fn remove(&self, client: &ClientId, session: SessionId) {
        let mut all = self.lock();
        if all.get(client).is_some_and(|held| held.claim.session == session) {
            all.remove(client);
        }
    }

    /// What is known of a session since it was claimed again.
    pub(super) fn renew(&self, client: &ClientId, tenure: Tenure) {
        if let Some(held) = self.lock().get_mut(client)
            && held.claim.session == tenure.session
        {
            held.tenure = tenure;
        }
    }

    /// Whether the session has not been given up.
    pub(super) fn has(&self, client: &ClientId, session: SessionId) -> bool {
        self.lock().get(client).is_some_and(|held| held.claim.session == session)
    }

    /// A client of the original protocol has everything before this.
    pub(super) fn acked(&self, client: &ClientId, session: SessionId, position: Position) {
        if let Some(held) = self.lock().get_mut(client)
            && held.claim.session == session
            && matches!(held.claim.kind, ClaimKind::Original)
        {
            held.claim.log_end = held.claim.log_end.max(position);
        }
    }

    pub(super) fn all(&self) -> Vec<HeldClaim> {
        self.lock().values().cloned().collect()
    }
}
