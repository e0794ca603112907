//! What an adapter has to keep so that a partition comes back after a restart.
//!
//! Two kinds: an image of one client's claims, written whenever they change (the last one wins, so writing one twice does
//! no harm), and now and then a snapshot of everything that cannot be had from the log's tail. Waiting records are not
//! kept: they are in the log, and a floor says so.

use crate::{
    ClientId, OutboxId, Position, PrincipalId,
    clock::UnixMillis,
    mailbox::{OutboxFold, TOKEN_BYTES},
};

/// One outbox that has claimed its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxClaim {
    /// Which.
    pub outbox: OutboxId,
    /// The highest session number seen.
    pub session_no: u64,
    /// The end of the log at its first claim: nothing of it lies before.
    pub start: Position,
}

/// Everything of a client that the results log does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimImage {
    /// Counts changes of the partition's claims; a snapshot covers every image up to its own version.
    pub version: u64,
    /// Whose claims.
    pub client: ClientId,
    /// To whom the client belongs; `None` until the first claim.
    pub principal: Option<PrincipalId>,
    /// The resume token, valid when there is a principal.
    pub token: [u8; TOKEN_BYTES],
    /// The outbox that holds the client, or held it last.
    pub current: Option<OutboxClaim>,
    /// Earlier outboxes, oldest first.
    pub retired: Vec<OutboxClaim>,
    /// Where a client of the original protocol is.
    pub kept: Option<Position>,
    /// What lies before is not served from the mailbox.
    pub floor: Position,
    /// The last sign of life.
    pub touched: UnixMillis,
}

/// One change of the claims, to be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimChange {
    /// Everything about the client's claims, as of now.
    Image(Box<ClaimImage>),
    /// Only where a client of the original protocol is.
    Kept {
        /// As [`ClaimImage::version`].
        version: u64,
        /// Which client.
        client: ClientId,
        /// Everything before this reached it.
        position: Position,
    },
}

impl ClaimChange {
    /// Which change of the partition's claims this is.
    pub fn version(&self) -> u64 {
        match self {
            Self::Image(image) => image.version,
            Self::Kept { version, .. } => *version,
        }
    }

    /// Whose claims changed.
    pub fn client(&self) -> &ClientId {
        match self {
            Self::Image(image) => &image.client,
            Self::Kept { client, .. } => client,
        }
    }
}

/// One client in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSnapshot {
    /// Its claims.
    pub claims: ClaimImage,
    /// Past its last result.
    pub last: Position,
    /// Its answered events.
    pub fold: Vec<(OutboxId, OutboxFold)>,
}

/// One partition at one instant: the fold as of exactly `applied`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionSnapshot {
    /// Covers every [`ClaimChange`] up to this version.
    pub version: u64,
    /// How far the results log is folded in.
    pub applied: Position,
    /// The partition's floor.
    pub floor: Position,
    /// Every client.
    pub clients: Vec<ClientSnapshot>,
}
