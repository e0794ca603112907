//! Why stored bytes are not a record.

use nimbus_core::InvalidId;

/// Why stored bytes are not a record. None of them is retryable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not the protobuf message they should be.
    #[error("not a stored record: {0}")]
    Malformed(String),
    /// A newer Nimbus wrote it in a way that this one would misunderstand.
    #[error("the record has version {found}, this build reads up to {}; use a newer build", crate::VERSION)]
    NewerVersion {
        /// What the record says.
        found: u32,
    },
    /// A field that every record has is not there.
    #[error("the record has no {0}")]
    Missing(&'static str),
    /// An identity breaks its rules.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// A number that stands for nothing.
    #[error("{what} has the unknown value {value}")]
    UnknownValue {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: i64,
    },
}
