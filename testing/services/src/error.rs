//! What can go wrong, told so that the reader knows what to do about it.

use std::{io, time::Duration};

/// The result of whatever starts or ends a service.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a service could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not on this machine. It has to be installed; a retry does not help.
    #[error("{program} is missing (Debian, Ubuntu: apt-get install {package})")]
    Missing {
        /// The program that was looked for in `PATH`.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// Redis is there, but does not know what Nimbus needs.
    #[error(
        "redis-server is of version {found}, and 7 or newer is needed (Debian, Ubuntu: apt-get install redis-server)"
    )]
    RedisTooOld {
        /// What it says it is.
        found: String,
    },
    /// Kafka's jars could not be had. It needs a package index once; a retry helps when the network is back.
    #[error("Kafka's jars could not be fetched, Maven said:\n{output}")]
    Fetch {
        /// The end of what Maven wrote.
        output: String,
    },
    /// A service ended before it was ready.
    #[error("{name} ended with {status} before it was ready:\n{log}")]
    Ended {
        /// Which service.
        name: &'static str,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A service did not do what was asked within its limit. The machine may be very busy.
    #[error("{name} did not {what} within {limit:?}:\n{log}")]
    TooSlow {
        /// Which service.
        name: &'static str,
        /// What it was asked to do.
        what: &'static str,
        /// How long that may take.
        limit: Duration,
        /// The end of its log.
        log: String,
    },
    /// A service was asked for something that only a running one can do.
    #[error("{0} does not run")]
    NotRunning(&'static str),
    /// A service answered with an error, or with what was not expected.
    #[error("{name}: {answer}")]
    Answer {
        /// Which service.
        name: &'static str,
        /// What it said.
        answer: String,
    },
    /// Files, processes or sockets.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether something has to be installed or fetched first: then tests may be skipped, loudly. Anything else is a failure.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::RedisTooOld { .. } | Self::Fetch { .. } => true,
            Self::Ended { .. } | Self::TooSlow { .. } | Self::NotRunning(_) | Self::Answer { .. } | Self::Io { .. } => {
                false
            }
        }
    }

    /// The description of an I/O error, for `map_err`.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing: doing.into(), source }
    }
}
