//! When a connection was last heard of.
//!
//! Whatever comes shows that its other end was there when it was sent: a frame of any stream, or the answer to a keepalive, which comes
//! when nothing else does. The original protocol has no other proof of a delivery (rule 26). Bytes are looked at where they come
//! out of the connection, since HTTP/2 takes those, while a session may leave frames unread for as long as it must.
//!
//! While the connection does not take what is written to it, nothing is noted: what was written before may still be here. What the
//! system has taken and not sent yet nobody sees.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// When one connection was last heard of. Each stream on it has a copy, in the extensions of its request.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    began: Instant,
    /// After that.
    nanos: Arc<AtomicU64>,
}

impl Heard {
    fn new() -> Self {
        Self { began: Instant::now(), nanos: Arc::default() }
    }

    /// Not before what came then was sent, and not after it was taken out of the connection.
    pub(crate) fn last(&self) -> Instant {
        self.began + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    fn now(&self) {
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(nanos, Ordering::Relaxed);
    }
}

/// A connection that notes when it is heard of, and else passes everything through.
#[derive(Debug)]
pub(crate) struct Listening<C> {
    connection: C,
    heard: Heard,
    /// The last write had to wait.
    is_blocked: bool,
}

impl<C> Listening<C> {
    pub(crate) fn new(connection: C) -> (Self, Heard) {
        let heard = Heard::new();
        (Self { connection, heard: heard.clone(), is_blocked: false }, heard)
    }

    fn written<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        self.is_blocked = polled.is_pending();
        polled
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Listening<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.connection).poll_read(cx, buf);
        if buf.filled().len() > before && !self.is_blocked {
            self.heard.now();
        }
        polled
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Listening<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write_vectored(cx, pieces);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_noted_unless_what_was_written_is_still_here() {
        let second = Duration::from_secs(1);
        let (mut client, server) = duplex(64);
        let (mut server, heard) = Listening::new(server);
        let began = heard.last();
        tokio::time::advance(second).await;
        server.write_all(b"ours").await.unwrap();
        assert_eq!(heard.last(), began, "what is sent is not heard");
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        assert_eq!(heard.last(), began + second);
        tokio::time::advance(second).await;
        // Four bytes of ours are there, and room for sixty more.
        assert!(server.write_all(&[0; 61]).now_or_never().is_none());
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        assert_eq!(heard.last(), began + second, "what it sends says nothing of what is still here");
        client.read_exact(&mut [0; 64]).await.unwrap();
        server.write_all(b"more").await.unwrap();
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        assert_eq!(heard.last(), began + second * 2);
        tokio::time::advance(second).await;
        drop(client);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(heard.last(), began + second * 2);
    }
}
