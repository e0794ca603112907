//! Handshakes that do not wait for one another.
//!
//! Each is a task of its own, since it is a millisecond of arithmetic and two turns of a client that may never answer. How many
//! are under way is bounded, and so is how long one may take. Once the bound is reached, new connections wait until one is over, or
//! until the oldest has had its time and makes room: whoever connects and says nothing keeps nobody out for long, and in a storm of
//! clients that come back none is cut short that is only far away.

use std::{
    collections::VecDeque,
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::Tls;
use crate::metrics::{Counted, Metrics};

/// How many handshakes may be under way.
pub(super) const MOST: usize = 1_024;
/// How long one may take: enough for a phone at the edge of its network.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long one may take when others wait for its place: two turns over the other side of the world, and some that were lost.
pub(super) const CROWDED_TIMEOUT: Duration = Duration::from_secs(1);

/// The connections that have shaken hands, in the order in which they are done with it. Those that fail are counted and gone.
/// Errors are the listener's. Ends when there are no more connections and all handshakes are over.
#[derive(Debug)]
pub(crate) struct Handshakes<S, C> {
    tls: Tls,
    connections: S,
    /// One that finds no room.
    waiting: Option<C>,
    /// There will be no more of them.
    is_over: bool,
    under_way: JoinSet<io::Result<TlsStream<C>>>,
    /// The same with when they began, the oldest first; also some that are over.
    by_age: VecDeque<(Instant, AbortHandle)>,
    /// Until the oldest makes room.
    patience: Pin<Box<Sleep>>,
    /// It was told to, and its end has not been seen yet.
    is_making_room: bool,
    metrics: Metrics,
}

impl<S, C> Handshakes<S, C>
where
    S: Stream<Item = io::Result<C>> + Unpin,
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    pub(super) fn new(tls: Tls, connections: S, metrics: Metrics) -> Self {
        let patience = Box::pin(sleep_until(Instant::now()));
        let (under_way, by_age) = (JoinSet::new(), VecDeque::new());
        let (waiting, is_over, is_making_room) = (None, false, false);
        Self { tls, connections, waiting, is_over, under_way, by_age, patience, is_making_room, metrics }
    }

    /// Whether one more may begin. If not, whoever polls is woken when that may have changed.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.under_way.len() < MOST {
            self.is_making_room = false;
            return true;
        }
        if self.is_making_room {
            return false;
        }
        while self.by_age.front().is_some_and(|(_, handshake)| handshake.is_finished()) {
            self.by_age.pop_front();
        }
        // None is left: all are over, and woke whoever polls.
        let Some((began, oldest)) = self.by_age.front() else { return false };
        let due = *began + CROWDED_TIMEOUT;
        if self.patience.deadline() != due {
            self.patience.as_mut().reset(due);
        }
        if self.patience.as_mut().poll(cx).is_ready() {
            oldest.abort();
            self.is_making_room = true;
        }
        false
    }

    fn begin(&mut self, connection: C) {
        if self.by_age.len() >= 2 * MOST {
            // Those behind a slow one that are over.
            self.by_age.retain(|(_, handshake)| !handshake.is_finished());
        }
        let accept = self.tls.acceptor().accept(connection);
        let counted = Counted::new(&self.metrics.tls_handshakes_under_way);
        let handshake = self.under_way.spawn(async move {
            let _counted = counted;
            timeout(TIMEOUT, accept).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        });
        self.by_age.push_back((Instant::now(), handshake));
    }

    /// What a handshake has led to.
    fn end(&self, shaken: Result<io::Result<TlsStream<C>>, JoinError>) -> Option<TlsStream<C>> {
        if shaken.as_ref().is_err_and(JoinError::is_cancelled) {
            self.metrics.tls_handshakes_crowded_out.inc();
        }
        match shaken.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(stream) => {
                self.metrics.tls_handshakes.inc();
                Some(stream)
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
    type Item = io::Result<TlsStream<C>>;

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
            if this.waiting.is_some() && !this.has_room(cx) {
                return Poll::Pending;
            }
            if let Some(connection) = this.waiting.take() {
                this.begin(connection);
                continue;
            }
            if this.is_over {
                return if is_idle { Poll::Ready(None) } else { Poll::Pending };
            }
            match Pin::new(&mut this.connections).poll_next(cx) {
                Poll::Ready(Some(Ok(connection))) => this.waiting = Some(connection),
                // The listener's trouble, not this connection's: whoever accepts decides.
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => this.is_over = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
