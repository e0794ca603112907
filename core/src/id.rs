//! Identities: one newtype each, so that no two of them can be mistaken for one another.
//!
//! Textual ids are shared (`Arc<str>`): an id is parsed once per stream and then only cloned.

use std::{fmt, sync::Arc};

use ulid::Ulid;

/// Longest client id, event name or principal, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// A textual id that breaks the rules; names the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing was given.
    #[error("{what} is empty; give 1 to {MAX_ID_BYTES} bytes of [A-Za-z0-9._:@-]")]
    Empty {
        /// Which field.
        what: &'static str,
    },
    /// Longer than [`MAX_ID_BYTES`].
    #[error("{what} has {bytes} bytes; at most {MAX_ID_BYTES} are allowed")]
    TooLong {
        /// Which field.
        what: &'static str,
        /// How long it was.
        bytes: usize,
    },
    /// A byte outside the alphabet.
    #[error("{what} has a byte that is not allowed at index {index}; use only [A-Za-z0-9._:@-]")]
    Alphabet {
        /// Which field.
        what: &'static str,
        /// Where the first such byte is.
        index: usize,
    },
    /// A binary id of the wrong length.
    #[error("{what} has {bytes} bytes; exactly 16 are needed")]
    Length {
        /// Which field.
        what: &'static str,
        /// How long it was.
        bytes: usize,
    },
}

fn check(what: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidId::TooLong { what, bytes: text.len() });
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"._:@-".contains(b);
    match text.bytes().position(|b| !allowed(&b)) {
        Some(index) => Err(InvalidId::Alphabet { what, index }),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes over `text`: 1 to 128 bytes of `[A-Za-z0-9._:@-]`.
            ///
            /// # Errors
            /// [`InvalidId`], which names the field and the remedy; never retryable.
            pub fn try_new(text: &str) -> Result<Self, InvalidId> {
                check($what, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Who holds a stream; the key of every record. One live session per client id.
    ClientId,
    "client id"
);
text_id!(
    /// Which executor handles an event.
    EventName,
    "event name"
);
text_id!(
    /// Who is behind a client id, as the authenticator says. A mailbox belongs to a principal.
    PrincipalId,
    "principal"
);
text_id!(
    /// One server process, unique among those alive.
    ServerId,
    "server id"
);
text_id!(
    /// A consumer group: the processes that share the partitions of a log among them.
    GroupId,
    "group id"
);

/// One client memory: sequence numbers count within it. 128 random bits made by the SDK.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutboxId([u8; 16]);

impl OutboxId {
    /// Takes over the 16 bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads an outbox id from the wire.
    ///
    /// # Errors
    /// [`InvalidId::Length`] unless there are exactly 16 bytes.
    pub fn try_new(bytes: &[u8]) -> Result<Self, InvalidId> {
        let sixteen = bytes.try_into().map_err(|_| InvalidId::Length { what: "outbox id", bytes: bytes.len() })?;
        Ok(Self(sixteen))
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One session: made by the server, unique for ever, and what a release compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Ulid);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One incarnation of the two logs. Positions of different epochs are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogEpoch(pub Ulid);

impl fmt::Display for LogEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_outside_the_rules_names_field_and_remedy() {
        assert!(ClientId::try_new("phone-7.a:b@c/").is_err_and(|e| e.to_string().contains("index 13")));
        assert!(ClientId::try_new("phone-7.a:b@c").is_ok());
        assert_eq!(ClientId::try_new(""), Err(InvalidId::Empty { what: "client id" }));
        assert!(EventName::try_new(&"x".repeat(129)).is_err_and(|e| e.to_string().contains("event name has 129")));
        assert!(OutboxId::try_new(&[1; 15]).is_err());
    }
}
