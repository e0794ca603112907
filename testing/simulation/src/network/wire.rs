//! One direction of a connection, and a connection's end: bytes that arrive late, or not at all.
//!
//! How long bytes take follows from the connection, the direction and the moment alone, not from how many they are: a header
//! carries the real date, whose encoded length differs from day to day.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::Conditions;
use crate::lock;

/// How many bytes may be on their way.
const CAPACITY: usize = 256 * 1024;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// The writer has ended.
    closed: bool,
    /// The reader has gone.
    abandoned: bool,
    cut: bool,
    /// Nothing arrives before this.
    held_until: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Line {
    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Both ends get an error.
    pub(super) fn cut(&mut self) {
        self.cut = true;
        self.wake();
    }

    /// What is written is taken, and arrives only then.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
        self.wake();
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(super) incoming: Arc<Mutex<Line>>,
    pub(super) outgoing: Arc<Mutex<Line>>,
    pub(super) conditions: Conditions,
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut")
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let wait_until = {
                let mut line = lock(&this.incoming);
                if line.cut {
                    return Poll::Ready(Err(reset()));
                }
                line.reader = Some(cx.waker().clone());
                let now = Instant::now();
                match line.held_until.filter(|until| *until > now) {
                    Some(until) => Some(until),
                    None => {
                        let due = line.waiting.front().map(|(due, _)| *due);
                        match due {
                            Some(due) if due > now => Some(due),
                            Some(_) => {
                                while let Some((due, bytes)) = line.waiting.front_mut() {
                                    let room = buf.remaining().min(bytes.len());
                                    if room == 0 || *due > now {
                                        break;
                                    }
                                    buf.put_slice(&bytes.split_to(room));
                                    line.bytes -= room;
                                    if !line.waiting.front().is_some_and(|(_, bytes)| bytes.has_remaining()) {
                                        line.waiting.pop_front();
                                    }
                                }
                                if let Some(writer) = line.writer.take() {
                                    writer.wake();
                                }
                                return Poll::Ready(Ok(()));
                            }
                            None if line.closed => return Poll::Ready(Ok(())),
                            None => None,
                        }
                    }
                }
            };
            let Some(until) = wait_until else {
                this.sleep = None;
                return Poll::Pending;
            };
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            std::task::ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut line = lock(&self.outgoing);
        if line.cut {
            return Poll::Ready(Err(reset()));
        }
        if line.abandoned || line.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if line.bytes >= CAPACITY {
            line.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let due = Instant::now() + self.conditions.delay();
        let due = line.waiting.back().map_or(due, |(last, _)| due.max(*last));
        line.bytes += bytes.len();
        line.waiting.push_back((due, Bytes::copy_from_slice(bytes)));
        if let Some(reader) = line.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = lock(&self.outgoing);
        line.closed = true;
        line.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        {
            let mut line = lock(&self.outgoing);
            line.closed = true;
            line.wake();
        }
        let mut line = lock(&self.incoming);
        line.abandoned = true;
        line.wake();
    }
}
