//! The clients that sessions of this process hold: what it takes to claim them again when Redis has lost them.
//!
//! One entry for each session that is open here: bounded by the sessions the server admits.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nimbus_core::{
    ClientId, Position, SessionId,
    mailbox::TOKEN_BYTES,
    ports::mailbox::{Claim, ClaimKind, Claimed},
};

/// One claim, so that making it again finds the client as it was.
#[derive(Debug, Clone)]
pub(super) struct HeldClaim {
    /// Its `log_end` is where the outbox began, or how far the client of the original protocol is.
    pub(super) claim: Claim,
    /// The client shows it at its next resume, so it must stay.
    pub(super) token: [u8; TOKEN_BYTES],
}

impl HeldClaim {
    pub(super) fn new(claim: Claim, claimed: &Claimed, token: [u8; TOKEN_BYTES]) -> Self {
        let kind = match claim.kind {
            // The token that was checked is not to be checked against a memory that has lost it.
            ClaimKind::Sdk { outbox, session_no, .. } => ClaimKind::Sdk { outbox, session_no, token: None },
            ClaimKind::Original => ClaimKind::Original,
        };
        Self { claim: Claim { kind, log_end: claimed.start, ..claim }, token }
    }
}

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashMap<ClientId, HeldClaim>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, HeldClaim>> {
        // Every change of the map is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, held: HeldClaim) {
        let mut all = self.lock();
        // Two sessions of one client may claim at the same time; the newer one's answer may come first.
        let newer = all.get(&held.claim.client).is_some_and(|other| other.claim.session > held.claim.session);
        if !newer {
            all.insert(held.claim.client.clone(), held);
        }
    }

    pub(super) fn remove(&self, client: &ClientId, session: SessionId) {
        let mut all = self.lock();
        if all.get(client).is_some_and(|held| held.claim.session == session) {
            all.remove(client);
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
