//! What is waiting for each client, who owns each client, and how far results were folded in.
//!
//! The mailbox is an index over the results log, which is the truth. The rules behind it (fold, floors, claims) are the
//! pure code of [`crate::mailbox`]; every adapter gives the same answers.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    ClientId, OutboxId, Partition, Position, PrincipalId, Reason, ResultRecord, ServerId, SessionId,
    ports::log::{Batch, Stored},
};

/// Takes a client over for a new session.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Which client.
    pub client: ClientId,
    /// Who is behind it. A client id that changes hands starts empty.
    pub principal: PrincipalId,
    /// The server that makes the claim.
    pub server: ServerId,
    /// The new session.
    pub session: SessionId,
    /// What kind of client, with what it remembers.
    pub kind: ClaimKind,
    /// The end of the client's results partition, asked from the log just now: where a client with no memory begins.
    pub log_end: Position,
}

/// How the client keeps its place.
#[derive(Debug, Clone)]
pub enum ClaimKind {
    /// An SDK: it keeps its own position.
    Sdk {
        /// Its outbox.
        outbox: OutboxId,
        /// Raised at every connect of this outbox.
        session_no: u64,
        /// The token of the last Welcome, if it has one; checked if given.
        token: Option<Bytes>,
    },
    /// A client of the original protocol: the mailbox keeps its position (rule 26).
    Original,
}

/// A successful claim.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// To be given to the client and shown at its next resume. Stable for a (client, principal).
    pub token: Bytes,
    /// SDK: where this outbox began (its first claim), for a client that lost its Welcome.
    /// Original: where the client's kept position lies.
    pub start: Position,
    /// Whether the outbox (original: the client) was known before.
    pub known: bool,
    /// The highest terminal answer of this outbox in the ordered lane, 0 when none: everything up to it was accepted.
    pub answered: u64,
    /// The session that lost the client, if there was one, and where it lives.
    pub previous: Option<(ServerId, SessionId)>,
    /// How far the partition was folded in by then, or further. What came before was told to others, if to anyone: a read that
    /// does not reach this is of a mailbox that has lost its memory since, and says nothing about what is there.
    pub applied: Position,
}

/// Why a claim was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// A lower `session_no` than one already seen for this outbox. Terminal.
    #[error("session number {given} is lower than {seen}, which was seen already")]
    Stale {
        /// What the claim carried.
        given: u64,
        /// What was seen.
        seen: u64,
    },
    /// The token is not this client's. Terminal.
    #[error("the resume token is not this client's")]
    WrongToken,
    /// The mailbox cannot be reached just now. Retryable.
    #[error("the mailbox is unavailable: {0}")]
    Unavailable(String),
}

impl ClaimError {
    /// What the client is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Stale { .. } => Reason::StaleSession,
            Self::WrongToken => Reason::ResumeTokenMismatch,
            Self::Unavailable(_) => Reason::BackendUnavailable,
        }
    }
}

/// Why the mailbox could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MailboxError {
    /// It cannot be reached just now. Retryable.
    #[error("the mailbox is unavailable: {0}")]
    Unavailable(String),
    /// It has no room. Retryable, after trimming.
    #[error("the mailbox is full: {0}")]
    Full(String),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Everything before `applied` is folded in: this batch, or it was known already.
    Through {
        /// How far the partition is folded in now.
        applied: Position,
        /// How many records of this batch were new.
        fresh: usize,
        /// How many were duplicates and dropped by the fold.
        duplicates: usize,
    },
    /// The batch would leave a hole: read again from `applied`.
    Hole {
        /// How far the partition is folded in.
        applied: Position,
    },
}

/// A page of a client's mailbox.
#[derive(Debug, Clone)]
pub enum Page {
    /// Served from the mailbox.
    Records {
        /// In offset order, all at or after the position asked for.
        records: Vec<Stored<ResultRecord>>,
        /// Complete up to here: a record of this client before `through` is in `records` or lies before the position
        /// asked for.
        through: Position,
        /// Nothing was held back: `through` is all that the mailbox had when it was read. A page cut short by a limit is
        /// not complete, and its reader must not take itself for caught up.
        complete: bool,
    },
    /// The position lies before a floor: read the results log instead, up to `floor` at least.
    BelowFloor {
        /// What the mailbox can serve from.
        floor: Position,
    },
}

/// How far one partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which partition.
    pub partition: Partition,
    /// How far it is folded in.
    pub applied: Position,
    /// The `last` of the newest notification for the asking server.
    pub notified: Position,
}

/// The last record that was folded into a partition, to be found again in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landmark {
    /// Past the record.
    pub position: Position,
    /// Its [`ResultRecord::fingerprint`].
    pub fingerprint: u64,
}

/// Says that a client has everything before a position.
#[derive(Debug, Clone)]
pub struct MailboxAck {
    /// Which client.
    pub client: ClientId,
    /// The session that says so; a stale session's word is ignored.
    pub session: SessionId,
    /// The position.
    pub position: Position,
}

/// Mailboxes, ownership, and the fold.
#[async_trait]
pub trait Mailbox: Debug + Send + Sync {
    /// Takes a client over. Newest wins. Durable when it returns.
    ///
    /// Cancel safe in so far as nobody is left without a client for ever: a claim that is given up may have been made, and
    /// then the session whose client it took is told, and the client is free, by the next [`heads`](Self::heads) at the
    /// latest. Whoever gets the answer has to [`release`](Self::release) the client.
    ///
    /// # Errors
    /// [`ClaimError`].
    async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError>;

    /// Gives a client up, if `session` still owns it; otherwise nothing happens.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable; the next claim wins anyway).
    async fn release(&self, client: &ClientId, session: SessionId) -> Result<(), MailboxError>;

    /// Folds a batch in, exactly once, and notifies the owning servers. `batch.from` is the end of the batch before;
    /// a batch that would leave a hole is refused and nothing changes.
    ///
    /// # Errors
    /// [`MailboxError`]: nothing, all, or a first part of the batch was applied. Apply it again: what was applied counts once.
    async fn apply(&self, batch: &Batch<ResultRecord>) -> Result<Applied, MailboxError>;

    /// How far a partition is folded in: where the router begins to read.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable).
    async fn applied(&self, partition: Partition) -> Result<Position, MailboxError>;

    /// The last record that was folded into a partition. Whoever takes the partition over compares it with the log before
    /// anything is folded in (rule 16): another record in that place means another log, or one that was cut and grew again.
    /// `None`: nothing was folded in yet, or this mailbox cannot come apart from its log.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable).
    async fn landmark(&self, partition: Partition) -> Result<Option<Landmark>, MailboxError>;

    /// Retention has passed what is folded in: the results log of the partition now begins at `start`. Folding goes on
    /// there, and the floor rises to it, so that what is gone is a GAP for whoever asks and never silence; servers are told
    /// that something may have been missed. That word may be lost; so [`heads`](Self::heads) show every server that owns
    /// somebody, from that very step on, a notification up to `start` that it never got. Does nothing when `start` is not past what is folded in.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable).
    async fn skip_to(&self, partition: Partition, start: Position) -> Result<(), MailboxError>;

    /// Reads what waits for a client from a position on: up to `max_records` and about `max_bytes`, at least one record
    /// if there is any. Cancel safe.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`] (retryable).
    async fn read(
        &self,
        client: &ClientId,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Page, MailboxError>;

    /// Takes acknowledgements: a trim hint for SDK clients, the kept position of original clients. Batched by callers.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`]: some did not count, all others did (retryable, or drop it: it is a hint).
    async fn ack(&self, acks: &[MailboxAck]) -> Result<(), MailboxError>;

    /// How far these partitions are, for the repair that runs once a second. A partition that cannot be asked just now is left
    /// out: nothing may be concluded of it.
    ///
    /// A session of this process that has lost its client in one of them to a session at another server is told so, over the
    /// subscription of its own server: the word of whoever took it may have been lost.
    ///
    /// # Errors
    /// [`MailboxError::Unavailable`]: of no partition is anything known (retryable).
    async fn heads(&self, server: &ServerId, partitions: &[Partition]) -> Result<Vec<Head>, MailboxError>;
}

/// A mailbox shared among sessions.
pub type SharedMailbox = Arc<dyn Mailbox>;
