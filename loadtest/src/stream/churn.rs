//! Sessions that are closed and opened anew: half-closed and ended in good order, or cut, by turns.

use std::sync::Arc;

use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::{
    Lane, describe,
    dialect::{Dialect, Left},
};
use crate::transport;

impl<D: Dialect> Lane<D> {
    /// Ends the session and opens the next. For when the feed is at rest and everything that was sent is answered; what is
    /// sent or answered across it all the same is checked like everything else.
    pub(super) async fn reconnect(&mut self, stream: Streaming<D::Down>) -> Result<Streaming<D::Down>, String> {
        let began = Instant::now();
        if self.tally.reconnects.is_multiple_of(2) {
            self.leave(stream).await?;
        } else {
            self.feed.end();
            self.feed.wake();
            drop(stream);
        }
        self.requests_are_gone().await?;
        let left = Left { token: self.resume_token.clone(), position: self.position, answered: self.tracker.low() - 1 };
        self.dialect = Arc::new(self.dialect.next(left).ok_or("the protocol has no sessions")?);
        self.feed.renew();
        self.resend = None;
        if self.common.own_connections {
            let connecting = timeout(self.common.drain_timeout, transport::connect(&self.common.to)).await;
            let connected = connecting.map_err(|_| "no connection in time".to_owned())?;
            self.channel = connected.map_err(|error| error.to_string())?;
        }
        self.open().await.map_err(|status| describe(&status))?;
        self.tally.reconnects += 1;
        self.tally.longest_reconnect = self.tally.longest_reconnect.max(began.elapsed());
        self.heard_at = Instant::now();
        // A reconnect does not cut a thought short: everything before it has been sent.
        self.feed.allow(if self.thoughts.is_empty() { self.allowed() } else { self.feed.sent() });
        self.feed.wake();
        self.stream.take().ok_or_else(|| "the session did not open".to_owned())
    }

    /// Two request streams of one stream would take what is meant for the other.
    async fn requests_are_gone(&mut self) -> Result<(), String> {
        let Some(gone) = self.requests_gone.take() else { return Ok(()) };
        match timeout(self.common.drain_timeout, gone).await {
            // That it is dropped is all that it ever says.
            Ok(Err(_)) => Ok(()),
            Ok(Ok(never)) => match never {},
            Err(_) => Err("the transport did not let go of the request stream".to_owned()),
        }
    }
}
