//! Handshakes that do not wait for one another.
//!
//! Each is a task of its own, since it is a millisecond of arithmetic and two turns of a client that may never answer. How many
//! are under way is bounded, and so is how long one may take. Once the bound is reached a new connection takes the place of the
//! oldest: whoever connects and says nothing keeps nobody out, and who has just come has had no time yet.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{AbortHandle, JoinError, JoinSet},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::Tls;
use crate::{
    connection::Plain,
    metrics::{Counted, Metrics},
};

/// How many handshakes may be under way.
pub(super) const MOST: usize = 1_024;
/// How long one may take: enough for a phone at the edge of its network.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The connections that have shaken hands, in the order in which they are done with it. Those that fail are counted and gone.
/// Errors are the listener's. Ends when there are no more connections and all handshakes are over.
#[derive(Debug)]
pub(crate) struct Handshakes<S, C> {
    tls: Tls,
    connections: S,
    /// There will be no more of them.
    is_over: bool,
    under_way: JoinSet<io::Result<TlsStream<C>>>,
    /// The same, the oldest first; also some that are over.
    by_age: VecDeque<AbortHandle>,
    metrics: Metrics,
}

impl<S, C> Handshakes<S, C>
where
    S: Stream<Item = io::Result<C>> + Unpin,
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    pub(super) fn new(tls: Tls, connections: S, metrics: Metrics) -> Self {
        Self { tls, connections, is_over: false, under_way: JoinSet::new(), by_age: VecDeque::new(), metrics }
    }

    fn begin(&mut self, connection: C) {
        while self.by_age.front().is_some_and(AbortHandle::is_finished) {
            self.by_age.pop_front();
        }
        if self.by_age.len() >= MOST {
            // Those in the middle that are over.
            self.by_age.retain(|handshake| !handshake.is_finished());
        }
        if self.by_age.len() >= MOST
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.metrics.tls_handshakes_crowded_out.inc();
            oldest.abort();
        }
        let accept = self.tls.acceptor().accept(connection);
        let counted = Counted::new(&self.metrics.tls_handshakes_under_way);
        let handshake = self.under_way.spawn(async move {
            let _counted = counted;
            timeout(TIMEOUT, accept).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        });
        self.by_age.push_back(handshake);
    }

    /// What a handshake has led to.
    fn end(&self, shaken: Result<io::Result<TlsStream<C>>, JoinError>) -> Option<Plain<TlsStream<C>>> {
        match shaken.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(stream) => {
                self.metrics.tls_handshakes.inc();
                Some(Plain(stream))
            }
            Err(error) => {
                self.metrics.tls_handshakes_failed.inc();
                // Whoever scans ports makes these by the thousand.
                debug!(%error, "a TLS handshake failed");
                None
            }
        }
    }
}

impl<S, C> Stream for Handshakes<S, C>
where
    S: Stream<Item = io::Result<C>> + Unpin,
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Item = io::Result<Plain<TlsStream<C>>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let is_idle = match this.under_way.poll_join_next(cx) {
                Poll::Ready(Some(shaken)) => match this.end(shaken) {
                    Some(stream) => return Poll::Ready(Some(Ok(stream))),
                    None => continue,
                },
                Poll::Ready(None) => true,
                Poll::Pending => false,
            };
            if this.is_over {
                return if is_idle { Poll::Ready(None) } else { Poll::Pending };
            }
            match Pin::new(&mut this.connections).poll_next(cx) {
                Poll::Ready(Some(Ok(connection))) => this.begin(connection),
                // The listener's trouble, not this connection's: whoever accepts decides.
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => this.is_over = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
