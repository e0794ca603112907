//! One client: its claims, and what waits for it.

use bytes::Bytes;

use crate::{
    ClientId, OutboxId, Position, PrincipalId, ResultRecord, ServerId, SessionId,
    clock::UnixMillis,
    mailbox::{
        ClaimImage, ClientSnapshot, Fold, Judgement, OutboxClaim, RETIRED_OUTBOXES, TOKEN_BYTES, judge,
        waiting::{Trimmed, Waiting},
    },
    ports::{
        log::Stored,
        mailbox::{Claim, ClaimError, ClaimKind, Claimed},
    },
};

/// The session that holds a client.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) server: ServerId,
    pub(super) session: SessionId,
    /// It speaks the original protocol: its acknowledgements are the client's position.
    original: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct ClientState {
    principal: Option<PrincipalId>,
    token: [u8; TOKEN_BYTES],
    pub(super) owner: Option<Owner>,
    current: Option<OutboxClaim>,
    retired: Vec<OutboxClaim>,
    kept: Option<Position>,
    /// The mailbox is complete for this client from here on (and from the partition's floor on).
    pub(super) floor: Position,
    /// Past the last result of this client, delivered or not.
    pub(super) last: Position,
    pub(super) fold: Fold,
    pub(super) waiting: Waiting,
    pub(super) touched: UnixMillis,
    /// Which group of the batch being applied is this client's: (batch, index). Saves a map per batch.
    pub(super) group: (u64, usize),
}

/// What a claim brought about.
pub(super) struct ClaimEffect {
    pub(super) claimed: Claimed,
    pub(super) trimmed: Trimmed,
    pub(super) undo: Undo,
}

/// What it takes to give a client back after a claim that could not be made durable.
#[derive(Debug)]
pub struct Undo {
    session: SessionId,
    former: Option<Owner>,
    changed_hands: bool,
}

impl ClaimKind {
    /// The token that the client shows. Where none is known it stays the client's: it may never hear of another, when the
    /// answer to this claim is lost, and would be refused for good. (Where a token is known, another one is refused.)
    fn shown_token(&self) -> Option<[u8; TOKEN_BYTES]> {
        match self {
            Self::Sdk { token: Some(token), .. } => token.as_ref().try_into().ok(),
            Self::Sdk { token: None, .. } | Self::Original => None,
        }
    }
}

impl ClientState {
    /// Judges a record that arrives, see [`judge`].
    pub(super) fn judge(&mut self, stored: &Stored<ResultRecord>, now: UnixMillis) -> Judgement {
        let judgement = judge(stored, self.principal.as_ref(), self.floor, &mut self.fold, now);
        if judgement != Judgement::Foreign {
            self.last = self.last.max(stored.offset.position_after());
            self.touched = self.touched.max(now);
        }
        judgement
    }

    /// Whether a claim is to be refused. `after_a_loss`: what was known of the client may have been lost.
    pub(super) fn check(&self, claim: &Claim, after_a_loss: bool) -> Result<(), ClaimError> {
        let ClaimKind::Sdk { outbox, session_no, token } = &claim.kind else { return Ok(()) };
        self.check_token(token.as_ref(), self.changes_hands(claim), after_a_loss)?;
        self.check_session_no(*outbox, *session_no)
    }

    fn changes_hands(&self, claim: &Claim) -> bool {
        self.principal.as_ref().is_some_and(|principal| *principal != claim.principal)
    }

    /// Where a claim begins in a memory that took the place of a lost one at `began`, if it does not know.
    pub(super) fn beginning(&self, claim: &Claim, began: Position, applied: Position) -> Position {
        let (is_known, is_seen) = match &claim.kind {
            ClaimKind::Sdk { outbox, .. } => (self.knows(*outbox), self.fold.knows(*outbox)),
            ClaimKind::Original => (self.principal.is_some() || self.kept.is_some(), self.last > Position::START),
        };
        match (is_known, is_seen) {
            (true, _) => claim.log_end,
            (false, true) => claim.log_end.min(began),
            (false, false) => claim.log_end.min(applied),
        }
    }

    fn knows(&self, outbox: OutboxId) -> bool {
        self.current.iter().chain(&self.retired).any(|known| known.outbox == outbox)
    }

    /// Takes the client over, for a claim that passed the [`check`](Self::check).
    pub(super) fn claim(
        &mut self,
        claim: &Claim,
        new_token: [u8; TOKEN_BYTES],
        applied: Position,
        now: UnixMillis,
    ) -> ClaimEffect {
        let changes_hands = self.changes_hands(claim);
        let trimmed =
            if changes_hands { self.change_hands(claim.log_end.max(applied)) } else { self.settle_principal(claim) };
        if changes_hands || self.principal.is_none() {
            self.principal = Some(claim.principal.clone());
            self.token = claim.kind.shown_token().unwrap_or(new_token);
        }
        let start = if changes_hands { self.floor } else { claim.log_end };
        let (start, known, answered) = match &claim.kind {
            ClaimKind::Sdk { outbox, session_no, .. } => {
                let (start, known) = self.enter(*outbox, *session_no, start);
                (start, known, self.fold.answered(*outbox))
            }
            ClaimKind::Original => {
                self.retire_current();
                let known = self.kept.is_some();
                (*self.kept.get_or_insert(start), known, 0)
            }
        };
        let owner = Owner {
            server: claim.server.clone(),
            session: claim.session,
            original: matches!(claim.kind, ClaimKind::Original),
        };
        let former = self.owner.replace(owner).filter(|former| former.session != claim.session);
        self.touched = self.touched.max(now);
        let claimed = Claimed {
            token: Bytes::copy_from_slice(&self.token),
            start,
            known,
            answered,
            previous: former.clone().map(|former| (former.server, former.session)),
            applied,
        };
        ClaimEffect { claimed, trimmed, undo: Undo { session: claim.session, former, changed_hands: changes_hands } }
    }

    /// The outbox that claimed the client last, with the number of its session.
    pub(super) fn numbered(&self) -> Option<(OutboxId, u64)> {
        self.current.map(|current| (current.outbox, current.session_no))
    }

    pub(super) fn set_token(&mut self, token: [u8; TOKEN_BYTES]) {
        self.token = token;
    }

    /// Gives the client back to the session that had it before. Returns that session when it cannot have it back.
    pub(super) fn undo(&mut self, undo: Undo) -> Option<(ServerId, SessionId)> {
        let is_held = self.owner.as_ref().is_some_and(|owner| owner.session == undo.session);
        if is_held && undo.changed_hands {
            self.owner = None;
        } else if is_held {
            self.owner = undo.former;
            return None;
        }
        undo.former.map(|former| (former.server, former.session))
    }

    /// A token that was given must be this client's and this principal's. Where no token is known (the state was lost
    /// with its store) there is nothing to check against, and after a loss the one that is known may not be the one that the
    /// client has: the authenticator has vouched for the principal.
    fn check_token(&self, token: Option<&Bytes>, changes_hands: bool, after_a_loss: bool) -> Result<(), ClaimError> {
        let Some(token) = token.filter(|_| self.principal.is_some()) else { return Ok(()) };
        let is_wrong = changes_hands || (!after_a_loss && **token != self.token);
        if is_wrong { Err(ClaimError::WrongToken) } else { Ok(()) }
    }

    /// Refuses a Hello that was delayed on its way. Retired outboxes outlive a change of hands for just this reason.
    fn check_session_no(&self, outbox: OutboxId, given: u64) -> Result<(), ClaimError> {
        let stale = |seen| Err(ClaimError::Stale { given, seen });
        match &self.current {
            Some(current) if current.outbox == outbox && given < current.session_no => {
                return stale(current.session_no);
            }
            _ => {}
        }
        match self.retired.iter().find(|retired| retired.outbox == outbox) {
            // The same number as at its retirement is the Hello of the session that was superseded, come again.
            Some(retired) if given <= retired.session_no => stale(retired.session_no),
            _ => Ok(()),
        }
    }

    /// A client id that changes hands starts empty.
    fn change_hands(&mut self, floor: Position) -> Trimmed {
        self.retire_current();
        for retired in &mut self.retired {
            // Should one of them return under the new principal, nothing of it lies before this moment.
            retired.start = retired.start.max(floor);
        }
        self.kept = None;
        self.floor = self.floor.max(floor);
        self.fold = Fold::default();
        self.waiting.clear()
    }

    /// The first claim decides whose the records are that came before it.
    fn settle_principal(&mut self, claim: &Claim) -> Trimmed {
        if self.principal.is_some() {
            return Trimmed::default();
        }
        self.waiting.reject(|stored| stored.record.origin.principal != claim.principal)
    }

    /// Makes `outbox` the current one; returns where it began and whether it was known.
    fn enter(&mut self, outbox: OutboxId, session_no: u64, start: Position) -> (Position, bool) {
        if let Some(current) = self.current.as_mut().filter(|current| current.outbox == outbox) {
            current.session_no = session_no;
            return (current.start, true);
        }
        self.retire_current();
        let returning = self.retired.iter().position(|retired| retired.outbox == outbox);
        let known = returning.map(|at| self.retired.remove(at));
        let start = known.map_or(start, |known| known.start);
        self.current = Some(OutboxClaim { outbox, session_no, start });
        (start, known.is_some())
    }

    fn retire_current(&mut self) {
        if let Some(current) = self.current.take() {
            if self.retired.len() == RETIRED_OUTBOXES {
                self.retired.remove(0);
            }
            self.retired.push(current);
        }
    }

    /// Gives the client up if `session` holds it.
    pub(super) fn release(&mut self, session: SessionId, now: UnixMillis) -> bool {
        let held = self.owner.as_ref().is_some_and(|owner| owner.session == session);
        if held {
            self.owner = None;
            self.touched = self.touched.max(now);
        }
        held
    }

    /// Takes an acknowledgement of the owning session; the flag says whether the kept position moved.
    pub(super) fn ack(&mut self, session: SessionId, position: Position, now: UnixMillis) -> (Trimmed, bool) {
        let Some(owner) = self.owner.as_ref().filter(|owner| owner.session == session) else {
            return (Trimmed::default(), false);
        };
        let moved = owner.original && self.kept.is_none_or(|kept| kept < position);
        if moved {
            self.kept = Some(position);
        }
        self.touched = self.touched.max(now);
        let trimmed = self.waiting.trim_before(position);
        self.floor = self.floor.max(trimmed.through);
        (trimmed, moved)
    }

    pub(super) fn image(&self, client: &ClientId, version: u64) -> ClaimImage {
        ClaimImage {
            version,
            client: client.clone(),
            principal: self.principal.clone(),
            token: self.token,
            current: self.current,
            retired: self.retired.clone(),
            kept: self.kept,
            floor: self.floor,
            touched: self.touched,
        }
    }

    pub(super) fn snapshot(&self, client: &ClientId) -> ClientSnapshot {
        ClientSnapshot { claims: self.image(client, 0), last: self.last, fold: self.fold.outboxes().to_vec() }
    }

    pub(super) fn restore(snapshot: ClientSnapshot) -> Self {
        let mut state = Self { last: snapshot.last, fold: Fold::restore(snapshot.fold), ..Self::default() };
        state.take_image(snapshot.claims);
        state
    }

    /// Takes over a newer image. The fold was built under the principal before: it goes if that one lost the client.
    pub(super) fn take_image(&mut self, image: ClaimImage) {
        if self.principal.is_some() && self.principal != image.principal {
            self.fold = Fold::default();
        }
        self.principal = image.principal;
        self.token = image.token;
        self.current = image.current;
        self.retired = image.retired;
        self.kept = image.kept;
        self.floor = self.floor.max(image.floor);
        self.touched = self.touched.max(image.touched);
    }

    /// Takes over a newer kept position.
    pub(super) fn keep(&mut self, position: Position) {
        self.kept = Some(position);
    }

    /// The log ends before `end`: positions beyond name records that do not exist, and an answer that lies beyond was
    /// lost with them, so it must be able to come again.
    pub(super) fn clamp(&mut self, end: Position) {
        self.floor = self.floor.min(end);
        self.last = self.last.min(end);
        self.kept = self.kept.map(|kept| kept.min(end));
        for claim in self.current.iter_mut().chain(&mut self.retired) {
            claim.start = claim.start.min(end);
        }
        self.fold.retain(|_, known| known.last_result <= end);
    }
}
