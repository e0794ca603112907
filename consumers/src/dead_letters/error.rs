//! Why something could not be done about dead letters.

use nimbus_core::ports::log::LogError;

use super::letter::LetterId;

/// Why something could not be done about dead letters. What was reported as done before stays done.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// There are no such letters, or retention has passed them. Nothing was done.
    #[error("no such dead letter: {}", list(.0))]
    Unknown(Vec<LetterId>),
    /// The log of dead letters could not be read. Nothing more was done; retryable if its source is.
    #[error("the dead letters could not be read")]
    Read(#[source] LogError),
    /// An append of events failed. [`LogError::Full`] and [`LogError::Unavailable`]: none of these letters was replayed, and
    /// it can be tried again. Else they may or may not have been; they are still open.
    #[error("these dead letters could not be replayed: {}", list(letters))]
    Replay {
        /// Which.
        letters: Vec<LetterId>,
        /// What the events log said.
        source: LogError,
    },
    /// A mark could not be appended. The letters keep the state they had; after a replay that means that their events are
    /// in the log again and that they nevertheless may still look open.
    #[error(
        "what was done about these dead letters could not be noted: {}; they may be listed as if it had not been",
        list(letters)
    )]
    Mark {
        /// Which.
        letters: Vec<LetterId>,
        /// What the log of dead letters said.
        source: LogError,
    },
}

impl DeadLettersError {
    /// What the log said, if it was the log.
    pub const fn log_error(&self) -> Option<&LogError> {
        match self {
            Self::Unknown(_) => None,
            Self::Read(error) | Self::Replay { source: error, .. } | Self::Mark { source: error, .. } => Some(error),
        }
    }
}

fn list(letters: &[LetterId]) -> String {
    letters.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
