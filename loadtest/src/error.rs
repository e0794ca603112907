//! Why a load could not be run. What goes wrong while it runs is in the report.

use tonic::{Code, Status};

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// The operating system refused something that a load needs. Retryable once it has it to give.
    #[error("cannot begin the load")]
    System(#[from] std::io::Error),
    /// A result of a load cannot be read or used. A retry does not help.
    #[error("{0}")]
    Result(String),
    /// A server is there and refused a stream. Retryable where the code says so.
    #[error("the server at {address} refused a stream: {why}")]
    Refused {
        /// Where.
        address: String,
        /// Canonical gRPC code.
        code: i32,
        /// What was said.
        why: String,
    },
    /// No connection, or no session, could be opened. Retryable once the server is there.
    #[error("cannot open a stream at {address}: {why}")]
    Connect {
        /// Where.
        address: String,
        /// What was said.
        why: String,
    },
}

impl LoadError {
    /// What it means that a stream could not be opened.
    pub(crate) fn opening(address: &str, status: &Status) -> Self {
        let address = address.to_owned();
        let why = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            // What a connection looks like that is not there or breaks.
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Connect { address, why },
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Refused { address, code: status.code() as i32, why },
        }
    }
}
