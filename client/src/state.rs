//! What an application can watch of the connection.

use std::time::Duration;

use crate::Error;

/// The state of a client's connection. It repairs itself; an application needs this to show it, not to act on it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum State {
    /// Opening a stream and saying hello.
    Connecting,
    /// A session is live.
    Connected(Session),
    /// The connection was lost, or could not be made; the next attempt comes by itself.
    Waiting {
        /// How long until the next attempt, counted from the loss.
        delay: Duration,
        /// Why the last one ended.
        why: String,
    },
    /// The client was closed, or said goodbye and has everything.
    Closed,
    /// The client has stopped for good.
    Failed(Error),
}

/// A live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Which server.
    pub server_id: String,
    /// The session's id, for support and logs.
    pub session_id: String,
    /// How deliveries go on.
    pub resumed: Resumed,
}

/// How the sessions of a client ended that it went on from: a rolling restart shows as the first, a broken network as the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Departures {
    /// Left because the server had said that it goes away.
    pub asked: u64,
    /// Ended without such a word: the connection broke, the server died, or it ended the session for another reason.
    pub lost: u64,
}

/// How deliveries go on after a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// There was nothing to resume.
    New,
    /// Everything since the client left off follows.
    Complete,
    /// Something may have been missed: an [`Incoming::Gap`](crate::Incoming::Gap) follows.
    WithGap,
}
