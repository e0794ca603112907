//! The one error type of the crate.

use std::{io, path::PathBuf, sync::Arc};

/// Why something did not work. [`is_retryable`](Self::is_retryable) tells whether the same call can succeed later.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the caller gave can never work: an address, a client id, an oversize event. Nothing was sent.
    #[error("{what}")]
    Invalid {
        /// What is wrong and what would be right.
        what: String,
    },
    /// No server answered in time. Only from `connect`; later the client keeps trying by itself. Retryable.
    #[error("no session could be opened at {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the last attempt said.
        why: String,
    },
    /// Another session of this client id took over, or this outbox was connected later elsewhere. Final: connecting
    /// again would only evict the other one.
    #[error("superseded by a newer session: {message}")]
    Superseded {
        /// What the server said.
        message: String,
    },
    /// The server refused the session for good. Final until the caller changes something.
    #[error("refused by the server: {reason}: {message}")]
    Refused {
        /// Canonical gRPC code.
        code: i32,
        /// Stable reason, as in docs/errors.md; empty when the refusal came from something in between.
        reason: String,
        /// For people.
        message: String,
    },
    /// The server knows more of this outbox than the client: the outbox file is an old copy. Final: numbers would be
    /// used twice. Begin a new outbox file.
    #[error("the server has accepted event {accepted} of this outbox, which ends at {last}: the outbox is an old copy")]
    OutboxOutdated {
        /// What the server has accepted.
        accepted: u64,
        /// The last event that this outbox knows.
        last: u64,
    },
    /// Another client, in this process or another one, has the outbox file open. Retryable once that one ends.
    #[error("outbox {} is in use by another client", path.display())]
    OutboxInUse {
        /// The file.
        path: PathBuf,
    },
    /// The outbox file belongs to another client id, which its numbers and its place count for. Final: nothing was
    /// changed. Use that client id, or another file.
    #[error("outbox {} belongs to client id `{owner}`, not to `{client_id}`", path.display())]
    OutboxForeign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who asked for it.
        client_id: String,
    },
    /// The outbox file is damaged. Final: nothing was changed; see the README for ways on.
    #[error("outbox {} is damaged at offset {offset}: {what}", path.display())]
    OutboxDamaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// The outbox file could not be read or written. The client has stopped; whether the last events were kept shows
    /// when the file is opened again.
    #[error("outbox {}: {source}", path.display())]
    OutboxIo {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The outbox holds as many events as it may. Only from `try_send`. Retryable.
    #[error("the outbox is full")]
    Full,
    /// The client was closed, or said goodbye.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the same call can succeed later without the caller changing anything.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::OutboxInUse { .. } | Self::Full => true,
            Self::Invalid { .. }
            | Self::Superseded { .. }
            | Self::Refused { .. }
            | Self::OutboxOutdated { .. }
            | Self::OutboxForeign { .. }
            | Self::OutboxDamaged { .. }
            | Self::OutboxIo { .. }
            | Self::Closed => false,
        }
    }
}
