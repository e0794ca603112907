//! From a session's end to a gRPC status: the one place where domain reasons become RPC errors.

use nimbus_core::{
    Reason,
    ports::{
        authenticator::AuthError,
        log::LogError,
        mailbox::{ClaimError, MailboxError},
    },
    session::Close,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `google.rpc.ErrorInfo.domain` of every error.
const DOMAIN: &str = "nimbus";

/// The gRPC status of a session that ends for a reason; `None` for a clean end.
pub(crate) fn status(close: &Close) -> Option<Status> {
    let reason = close.reason?;
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.as_str(), DOMAIN, [] as [(String, String); 0]);
    if let Some(retry_after) = close.retry_after {
        details.set_retry_info(Some(retry_after));
    }
    Some(Status::with_error_details(Code::from_i32(reason.class().code()), close.message.clone(), details))
}

/// The status of a refusal. (A clean end is none; taking it for one is a fault of this server.)
pub(crate) fn refused(close: &Close) -> Status {
    status(close).unwrap_or_else(|| Status::internal("a refusal without a reason"))
}

/// The status of a reason and what happened.
pub(crate) fn refuse(reason: Reason, message: impl Into<String>) -> Status {
    refused(&Close::because(reason, message))
}

pub(crate) fn from_auth(error: &AuthError) -> Close {
    let message = match error {
        // The authenticator's own trouble is for the log, not for the caller.
        AuthError::Unavailable(_) => "callers cannot be authenticated just now".to_owned(),
        AuthError::Unauthenticated | AuthError::Forbidden(_) => error.to_string(),
    };
    Close::because(error.reason(), message)
}

pub(crate) fn from_claim(error: &ClaimError) -> Close {
    let message = match error {
        ClaimError::Unavailable(_) => "the mailbox cannot be reached just now".to_owned(),
        ClaimError::Stale { .. } | ClaimError::WrongToken => error.to_string(),
    };
    Close::because(error.reason(), message)
}

pub(crate) fn from_log(error: &LogError) -> Close {
    Close::because(error.reason(), "the log cannot be read just now")
}

pub(crate) fn from_mailbox(_error: &MailboxError) -> Close {
    Close::because(Reason::BackendUnavailable, "the mailbox cannot be read just now")
}
