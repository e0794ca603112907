//! What this crate keeps in Redis, as bytes. Every piece begins with a version, so that builds of two versions can share one
//! Redis while a deployment is rolled: a piece of a newer version is refused by name ([`Unreadable::Newer`]) and never
//! misread. Scripts look into two of them, and only at fixed places: the revision of [`claims`] and the whole of
//! [`owner`], which has no version because it is compared byte by byte.

pub(crate) mod chunk;
pub(crate) mod claims;
pub(crate) mod notice;
pub(crate) mod owner;
pub(crate) mod seen;
pub(crate) mod tenure;
mod wire;

pub(crate) use wire::{Reader, Writer};

/// Why bytes from Redis are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A newer build wrote it.
    #[error("{what} has version {found}, this build reads {known}; a newer build is writing to this redis")]
    Newer {
        /// Which piece.
        what: &'static str,
        /// Its version.
        found: u8,
        /// What this build reads.
        known: u8,
    },
    /// It breaks off, goes on too long, or holds what cannot be.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which piece.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

#[cfg(test)]
mod tests;
