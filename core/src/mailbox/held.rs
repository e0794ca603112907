//! The clients that the sessions of one process hold: what it takes to claim them again in a memory that has lost them.

use std::cmp::Ordering;

use crate::{
    ClientId, Position, ServerId, SessionId,
    chance::HashMap,
    mailbox::{Rival, TOKEN_BYTES, Tenure},
    ports::mailbox::{Claim, ClaimKind, Claimed},
};

/// One claim, so that making it again finds the client as it was.
#[derive(Debug, Clone)]
pub struct HeldClaim {
    /// Its `log_end` is where the outbox began, or how far the client of the original protocol is.
    pub claim: Claim,
    /// The client shows it at its next resume, so it must stay.
    pub token: [u8; TOKEN_BYTES],
    /// Which sessions it came after, so that none of them passes for newer.
    pub tenure: Tenure,
}

impl HeldClaim {
    /// Of a claim that was made.
    pub fn new(claim: Claim, claimed: &Claimed, token: [u8; TOKEN_BYTES], tenure: Tenure) -> Self {
        let kind = match claim.kind {
            // The token that was checked is not to be checked against a memory that has lost it.
            ClaimKind::Sdk { outbox, session_no, .. } => ClaimKind::Sdk { outbox, session_no, token: None },
            ClaimKind::Original => ClaimKind::Original,
        };
        Self { claim: Claim { kind, log_end: claimed.start, ..claim }, token, tenure }
    }

    /// For the question who is newer.
    pub fn rival(&self) -> Rival<'_> {
        Rival::claiming(&self.claim.kind, &self.tenure)
    }
}

/// All of them, at most one for each client: bounded by the sessions that the server admits.
#[derive(Debug, Default)]
pub struct Held(HashMap<ClientId, HeldClaim>);

impl Held {
    /// Keeps the newer of two claims of one client. Says whose session is not kept any more by that: it is not claimed again, so it
    /// has to be told that it has lost its client, if nobody else tells it.
    pub fn insert(&mut self, held: HeldClaim) -> Option<(ServerId, SessionId)> {
        // Two sessions of one client may claim at the same time; the newer one's answer may come first.
        let other = self.0.get(&held.claim.client);
        let is_older = other.is_some_and(|other| held.rival().compare(&other.rival()) == Some(Ordering::Less));
        if is_older {
            return None;
        }
        let (client, session) = (held.claim.client.clone(), held.claim.session);
        let replaced = self.0.insert(client, held).map(|other| (other.claim.server, other.claim.session));
        replaced.filter(|(_, other)| *other != session)
    }

    /// The session gave its client up, or lost it.
    pub fn remove(&mut self, client: &ClientId, session: SessionId) {
        if self.has(client, session) {
            self.0.remove(client);
        }
    }

    /// What is known of a session since it was claimed again.
    pub fn renew(&mut self, client: &ClientId, tenure: Tenure) {
        if let Some(held) = self.of(client, tenure.session) {
            held.tenure = tenure;
        }
    }

    /// A client of the original protocol has everything before this.
    pub fn acked(&mut self, client: &ClientId, session: SessionId, position: Position) {
        if let Some(held) = self.of(client, session).filter(|held| matches!(held.claim.kind, ClaimKind::Original)) {
            held.claim.log_end = held.claim.log_end.max(position);
        }
    }

    fn of(&mut self, client: &ClientId, session: SessionId) -> Option<&mut HeldClaim> {
        self.0.get_mut(client).filter(|held| held.claim.session == session)
    }

    /// Whether the session has not been given up.
    pub fn has(&self, client: &ClientId, session: SessionId) -> bool {
        self.0.get(client).is_some_and(|held| held.claim.session == session)
    }

    /// Those of some clients, to be claimed again or looked at. The others are not copied.
    pub fn of_those(&self, wanted: impl Fn(&ClientId) -> bool) -> Vec<HeldClaim> {
        self.0.iter().filter(|(client, _)| wanted(client)).map(|(_, held)| held.clone()).collect()
    }
}
