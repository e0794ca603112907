//! A wire protocol, as the driver of a session sees it.

use nimbus_core::session::{ClientFrame, Close, Dialect, ServerFrame};
use tokio::time::Instant;

use super::out::Outgoing;

/// What a wire frame means.
#[derive(Debug)]
pub(crate) enum WireFrame {
    /// A frame for the session.
    Frame(ClientFrame),
    /// The session must end.
    Violation(Close),
}

/// One wire protocol: translates its messages.
pub(crate) trait Wire: Send + 'static {
    type In: Send + 'static;
    const DIALECT: Dialect;

    /// `next_seq` is the number an event gets where the protocol has none.
    fn decode(&mut self, frame: Self::In, next_seq: u64) -> WireFrame;

    /// Adds what the protocol has to say for this frame, if anything.
    fn encode(&mut self, frame: ServerFrame, out: &mut Outgoing);

    /// When the client's connection was last heard of, where the protocol has no acknowledgements.
    fn heard(&self) -> Option<Instant> {
        None
    }
}
