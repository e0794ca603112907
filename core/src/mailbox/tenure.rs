//! Which of two sessions of a client is the newer one, when a claim is made again because the mailbox may have lost it.
//!
//! A claim that is made fresh needs no answer to that: whoever claims last wins. But after a loss every server claims again
//! what it holds, in whatever order, and some of it was taken over long ago by a session that this server never heard of. Then
//! the session that the client has now must win, because a client that is told of a newer session ends for good.
//!
//! What decides is what the mailbox itself decided, never a clock: the time in a session's id is that of its server, and two
//! servers' clocks differ. Each claim writes down, beside who holds the client, which sessions held it before ([`Tenure`]);
//! whoever holds a claim remembers the same, and brings it along when the claim is made again.
//!
//! What cannot be told by that, and is left to the ids: two claims that were made in different memories of which neither
//! knows of the other, both made again in a third one (so, two losses at once); a holder from more than [`FORMER_SESSIONS`]
//! sessions ago, of another outbox; and a claim of a build that wrote no tenure.

use std::cmp::Ordering;

use crate::{OutboxId, SessionId, ports::mailbox::ClaimKind};

/// How many sessions are remembered that held a client before. They matter only as long as the server of one of them has not
/// heard that it lost its client. Sessions of one outbox are told apart by their numbers, however many there were.
pub const FORMER_SESSIONS: usize = 8;

/// How a claim came into the memory that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// By a session that opened, in this memory.
    Fresh,
    /// Again, by a server that held it in an earlier memory.
    Again,
    /// By a build that does not say so.
    Unknown,
}

/// The time during which a session holds its client, and which ones came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// Whose.
    pub session: SessionId,
    /// How it began.
    pub made: Made,
    /// The sessions that held the client before, as far as is known, the last one first; at most [`FORMER_SESSIONS`].
    pub former: Vec<SessionId>,
}

/// One of two sessions that both claim to have the client.
#[derive(Debug, Clone, Copy)]
pub struct Rival<'a> {
    /// Its outbox and the number of its session there; a client of the original protocol has none.
    pub numbered: Option<(OutboxId, u64)>,
    /// Its tenure.
    pub tenure: &'a Tenure,
}

impl Tenure {
    /// Of a session that opens. `before`: what the mailbox says of the client until now, held or not.
    pub fn begin(session: SessionId, before: Option<&Self>) -> Self {
        Self::after(session, Made::Fresh, &[], before)
    }

    /// This one, claimed again where the mailbox says `before` until now.
    pub fn again(&self, before: Option<&Self>) -> Self {
        // What was not lost is not made again: it stays one that opened in this memory, before which others were lost.
        let kept = before.filter(|before| before.session == self.session);
        Self::after(self.session, kept.map_or(Made::Again, |kept| kept.made), &self.former, before)
    }

    /// Of a session that a build without tenures wrote over `before`.
    pub fn unknown(session: SessionId, before: Option<&Self>) -> Self {
        Self::after(session, Made::Unknown, &[], before)
    }

    fn after(session: SessionId, made: Made, own: &[SessionId], before: Option<&Self>) -> Self {
        let last = before.map(|before| before.session);
        let others = before.map(|before| before.former.as_slice()).unwrap_or_default();
        let mut former = Vec::with_capacity(FORMER_SESSIONS);
        for one in last.iter().chain(own).chain(others) {
            if former.len() < FORMER_SESSIONS && *one != session && !former.contains(one) {
                former.push(*one);
            }
        }
        Self { session, made, former }
    }
}

impl<'a> Rival<'a> {
    /// The session that makes a claim.
    pub fn claiming(kind: &ClaimKind, tenure: &'a Tenure) -> Self {
        let numbered = match kind {
            ClaimKind::Sdk { outbox, session_no, .. } => Some((*outbox, *session_no)),
            ClaimKind::Original => None,
        };
        Self { numbered, tenure }
    }

    /// Whether it is known to be newer or older than another one; `None` where neither knows of the other.
    pub fn compare(&self, other: &Rival<'_>) -> Option<Ordering> {
        match (self.numbered, other.numbered) {
            // The client's own word.
            (Some((mine, number)), Some((theirs, other))) if mine == theirs && number != other => {
                return Some(number.cmp(&other));
            }
            _ => {}
        }
        let (one, two) = (self.tenure, other.tenure);
        if one.session == two.session {
            Some(Ordering::Equal)
        } else if one.former.contains(&two.session) {
            Some(Ordering::Greater)
        } else if two.former.contains(&one.session) {
            Some(Ordering::Less)
        } else {
            None
        }
    }

    /// Whether this one, which holds the client, keeps it from a claim that is made again.
    pub fn stays(&self, claim: &Rival<'_>) -> bool {
        match (self.compare(claim), self.tenure.made) {
            (Some(order), _) => order == Ordering::Greater,
            // It knows nothing of the claim, so the memory in which it opened had lost that by then: it came after the loss.
            (None, Made::Fresh) => true,
            (None, Made::Again | Made::Unknown) => self.tenure.session > claim.tenure.session,
        }
    }
}
