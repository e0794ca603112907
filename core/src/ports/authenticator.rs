//! Who is calling, and which client ids may they use.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::{ClientId, PrincipalId, Reason};

/// What a caller shows.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The bearer token of the call metadata `authorization`, without the word `Bearer`.
    pub bearer: Option<String>,
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bearer = self.bearer.as_ref().map(|_| "(hidden)");
        f.debug_struct("Credentials").field("bearer", &bearer).finish()
    }
}

/// Why a caller was turned away. Says nothing that helps to guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credentials, or nobody has these. Not retryable.
    #[error("no valid token; send call metadata `authorization: Bearer <token>`")]
    Unauthenticated,
    /// The principal may not use the client id. Not retryable.
    #[error("this token may not use client id {0}")]
    Forbidden(ClientId),
    /// The authenticator itself cannot answer. Retryable.
    #[error("the authenticator cannot answer: {0}")]
    Unavailable(String),
}

impl AuthError {
    /// What the client is told.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Unauthenticated => Reason::Unauthenticated,
            Self::Forbidden(_) => Reason::ClientIdForbidden,
            Self::Unavailable(_) => Reason::BackendUnavailable,
        }
    }
}

/// Maps credentials to a principal and checks its client ids.
#[async_trait]
pub trait Authenticator: Debug + Send + Sync {
    /// Decides whether the caller may use `client`, and as whom. Called once per session. Cancel safe.
    ///
    /// # Errors
    /// [`AuthError`].
    async fn authenticate(&self, credentials: &Credentials, client: &ClientId) -> Result<PrincipalId, AuthError>;
}
