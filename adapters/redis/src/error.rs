//! What can go wrong with Redis: once at the start ([`RedisError`]), and at every call ([`Failure`], for the ports).

use fred::error::{Error, ErrorKind};
use nimbus_core::ports::{
    mailbox::{ClaimError, MailboxError},
    notifier::NotifierError,
};

use crate::codec::Unreadable;

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The address or a prefix is wrong. Not retryable.
    #[error("cannot use the redis address {url}: {why}")]
    Address {
        /// Without a password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// It cannot be reached, or does not let us in. Retryable.
    #[error("cannot reach redis at {url}: {source}")]
    Unreachable {
        /// Without a password.
        url: String,
        /// What the library says.
        source: Error,
    },
    /// It does not know the user or the password, or wants one. Not retryable.
    #[error("redis at {url} does not let us in: {source}; correct the user and the password in the address")]
    Denied {
        /// Without a password.
        url: String,
        /// What it says.
        source: Error,
    },
    /// One side speaks TLS and the other does not, or its certificate is not trusted. Not retryable.
    #[error("no connection with redis at {url}: {why}; {remedy}")]
    Tls {
        /// Without a password.
        url: String,
        /// What is wrong.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Nobody can vouch for a Redis that speaks TLS. Not retryable.
    #[error("cannot use the certificates of {from}: {why}; name a file with certificates of authorities")]
    Authorities {
        /// A file, or this machine.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// It is there, but cannot be trusted with this. Not retryable before somebody has done what it says.
    #[error("redis cannot be used as it is set up: {0}")]
    Unfit(Finding),
    /// It was reached and did not do what it was asked: too slow, out of memory, failing over. Retryable.
    #[error("redis does not do what it is asked just now: {0}")]
    Unavailable(String),
    /// An answer that makes no sense. Not retryable.
    #[error("redis answered what it never should: {0}")]
    Answer(String),
}

/// What is not right with how Redis is set up, for a report to its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Nimbus refuses to work with it; otherwise it works, with a loss that `message` names.
    pub is_fatal: bool,
    /// What, and what follows from it.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// Why a call did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// Not reachable, still loading, failing over, or too slow: its outcome may be unknown.
    #[error("{0}")]
    Unavailable(String),
    /// Out of memory. Nothing was changed.
    #[error("{0}")]
    Full(String),
    /// What is stored is of a newer build, or damaged.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// How Redis begins the answers that say more than that something is wrong.
const NO_SCRIPT: &str = "NOSCRIPT";
const OUT_OF_MEMORY: &str = "OOM";

/// It does not let us in. The last is what a Redis says to a password that it has not asked for.
pub(crate) fn is_denial(error: &Error) -> bool {
    let says = |words| error.details().starts_with(words);
    matches!(error.kind(), ErrorKind::Auth) || says("NOPERM") || says("ERR AUTH")
}

/// The script has to be sent again.
pub(crate) fn is_no_script(error: &Error) -> bool {
    error.details().starts_with(NO_SCRIPT)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.details().starts_with(OUT_OF_MEMORY) {
            return Self::Full(error.details().to_owned());
        }
        let kind = match error.kind() {
            ErrorKind::Timeout => "it did not answer in time",
            ErrorKind::IO | ErrorKind::Canceled => "the connection broke",
            ErrorKind::Auth => "it does not let us in",
            ErrorKind::Cluster | ErrorKind::Routing => "the cluster is changing",
            _ => "redis refused",
        };
        Self::Unavailable(format!("{kind}: {}", error.details()))
    }
}

impl From<Failure> for RedisError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full(why) | Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Unreadable(why) => Self::Answer(why.to_string()),
        }
    }
}

impl From<Failure> for MailboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full(why) => Self::Full(why),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Unreadable(why) => Self::Unavailable(why.to_string()),
        }
    }
}

impl From<Failure> for ClaimError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

impl From<Failure> for NotifierError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_at_the_start_is_retryable_as_it_is_later() {
        let late = Failure::from(Error::new(ErrorKind::Timeout, "Request timed out."));
        assert!(matches!(RedisError::from(late), RedisError::Unavailable(why) if why.contains("in time")));
    }

    #[test]
    fn every_answer_of_a_redis_in_trouble_is_retryable_and_only_oom_is_full() {
        let answers = ["LOADING Redis is loading", "READONLY You can't write", "MOVED 1 h:1", "ASK 1 h:1"];
        for details in answers.into_iter().chain(["CLUSTERDOWN Hash slot not served", "MASTERDOWN", "TRYAGAIN"]) {
            let failure = Failure::from(Error::new(ErrorKind::Unknown, details));
            assert!(matches!(MailboxError::from(failure), MailboxError::Unavailable(why) if why.contains(details)));
        }
        let full = Failure::from(Error::new(ErrorKind::Unknown, "OOM command not allowed"));
        assert!(matches!(MailboxError::from(full), MailboxError::Full(_)));
        let late = Failure::from(Error::new(ErrorKind::Timeout, "Request timed out."));
        assert!(matches!(ClaimError::from(late), ClaimError::Unavailable(_)));
        assert!(is_no_script(&Error::new(ErrorKind::Unknown, "NOSCRIPT No matching script.")));
    }
}
