//! Who holds a client: eight bytes that name its hands, then either the session (16 bytes), a flag and the server, or (after
//! a release) since when nobody holds it (8 bytes).
//!
//! Scripts compare the hands and the session where they stand, so this layout never changes; another one is another key.

use bytes::Bytes;
use nimbus_core::{ServerId, SessionId, clock::UnixMillis};
use ulid::Ulid;

/// Names a time during which one principal held a client. Random, so that it never comes back by chance after Redis lost
/// its tail; all zeros before the first claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hands(pub(crate) [u8; 8]);

/// Before `server` in an entry that has one. The scripts say 25 as well.
const HELD: usize = 25;

/// What the entry of a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holding {
    /// A session holds it.
    Held { server: ServerId, session: SessionId },
    /// Nobody does.
    Free { since: UnixMillis },
}

impl Holding {
    /// The session that holds it.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Held { session, .. } => Some(*session),
            Self::Free { .. } => None,
        }
    }
}

pub(crate) fn encode(hands: Hands, server: &ServerId, session: SessionId, is_original: bool) -> Bytes {
    let mut entry = Vec::with_capacity(HELD + server.as_str().len());
    entry.extend_from_slice(&hands.0);
    entry.extend_from_slice(&session.0.to_bytes());
    entry.push(u8::from(is_original));
    entry.extend_from_slice(server.as_str().as_bytes());
    entry.into()
}

/// How a session is named in an entry.
pub(crate) fn session_bytes(session: SessionId) -> Bytes {
    Bytes::copy_from_slice(&session.0.to_bytes())
}

/// What follows the hands after a release.
pub(crate) fn free_since(now: UnixMillis) -> Bytes {
    Bytes::copy_from_slice(&now.0.to_be_bytes())
}

/// `None`: not an entry.
pub(crate) fn decode(entry: &[u8]) -> Option<Holding> {
    let rest = entry.get(8..)?;
    if let Ok(since) = <[u8; 8]>::try_from(rest) {
        return Some(Holding::Free { since: UnixMillis(u64::from_be_bytes(since)) });
    }
    let session: [u8; 16] = rest.get(..16)?.try_into().ok()?;
    let server = std::str::from_utf8(rest.get(17..)?).ok()?;
    let server = ServerId::try_new(server).ok()?;
    Some(Holding::Held { server, session: SessionId(Ulid::from_bytes(session)) })
}
