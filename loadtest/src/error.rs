//! Why a load could not be run. What goes wrong while it runs is in the report.

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// No connection, or no session, could be opened. Retryable once the server is there.
    #[error("cannot open a stream at {address}: {why}")]
    Connect {
        /// Where.
        address: String,
        /// What was said.
        why: String,
    },
}
