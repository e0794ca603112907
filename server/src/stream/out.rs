//! The outgoing queue of one stream: what the session has said and HTTP/2 has not yet taken.
//!
//! The session machine bounds it, in messages and in framed bytes; here it is only counted. Frames go in by the batch and
//! come out by the batch: one lock for each, and a wake-up of the session only when it waits for room.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use nimbus_core::{Position, session::Queue};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tonic::Status;

/// Queues that grew beyond this many frames are given back when they run empty, so that idle streams stay small.
const KEEP_FRAMES: usize = 16;

/// One frame and what the queue must know about it.
#[derive(Debug)]
pub(crate) struct OutFrame<T> {
    pub(crate) frame: T,
    pub(crate) bytes: usize,
    /// The position after it, if it is a delivery.
    pub(crate) position: Option<Position>,
}

struct State<T> {
    frames: VecDeque<OutFrame<T>>,
    queue: Queue,
    handed_over: Position,
    end: Option<Result<(), Status>>,
    reader: Option<Waker>,
    /// The stream was dropped by the transport.
    gone: bool,
    /// The end was read by the transport.
    ended: bool,
}

struct Channel<T> {
    state: Mutex<State<T>>,
    /// Tells the session that frames were taken, or that the stream is gone.
    taken: Notify,
    queue_bytes: Gauge,
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing below the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the queue of one stream.
pub(crate) fn outgoing<T>(queue_bytes: Gauge) -> (OutHandle<T>, OutStream<T>) {
    let state = State {
        frames: VecDeque::new(),
        queue: Queue::default(),
        handed_over: Position::START,
        end: None,
        reader: None,
        gone: false,
        ended: false,
    };
    let channel = Arc::new(Channel { state: Mutex::new(state), taken: Notify::new(), queue_bytes });
    (
        OutHandle { channel: Arc::clone(&channel) },
        OutStream { channel, local: VecDeque::new(), handed_out: None, was_pending: false },
    )
}

/// The session's side.
pub(crate) struct OutHandle<T> {
    channel: Arc<Channel<T>>,
}

/// What has become of the queue since the session last looked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) queue: Queue,
    /// Every delivery before this went out.
    pub(crate) handed_over: Position,
    pub(crate) gone: bool,
    pub(crate) ended: bool,
}

impl<T> OutHandle<T> {
    /// Puts frames in, in order, and empties `frames`.
    pub(crate) fn push(&self, frames: &mut Vec<OutFrame<T>>) {
        if frames.is_empty() {
            return;
        }
        let bytes: usize = frames.iter().map(|frame| frame.bytes).sum();
        let reader = {
            let mut state = self.channel.lock();
            if state.gone || state.end.is_some() {
                frames.clear();
                return;
            }
            state.queue.messages += frames.len();
            state.queue.bytes += bytes;
            state.frames.extend(frames.drain(..));
            state.reader.take()
        };
        self.channel.queue_bytes.inc_by(as_gauge(bytes));
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Ends the stream: after what is queued, or at once when the client does not read anyway.
    pub(crate) fn end(&self, end: Result<(), Status>, at_once: bool) {
        let reader = {
            let mut state = self.channel.lock();
            if at_once {
                self.channel.queue_bytes.dec_by(as_gauge(state.queue.bytes));
                state.frames = VecDeque::new();
                state.queue = Queue::default();
            }
            state.end.get_or_insert(end);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let state = self.channel.lock();
        Progress { queue: state.queue, handed_over: state.handed_over, gone: state.gone, ended: state.ended }
    }

    /// Waits until frames were taken or the stream is gone. Cancel safe. May return early.
    pub(crate) async fn taken(&self) {
        self.channel.taken.notified().await;
    }
}

impl<T> Drop for OutHandle<T> {
    fn drop(&mut self) {
        // A session that vanished (its task was dropped) must not leave the client hanging.
        self.end(Err(Status::unavailable("the session was dropped")), false);
    }
}

/// The transport's side: the response stream.
pub(crate) struct OutStream<T> {
    channel: Arc<Channel<T>>,
    /// Taken from the queue in one go, handed out one by one.
    local: VecDeque<OutFrame<T>>,
    /// The last delivery handed out, if it is not known yet to have gone out.
    handed_out: Option<Position>,
    /// The transport was told that there is nothing more for now.
    was_pending: bool,
}

impl<T> OutStream<T> {
    /// The transport gathers what it is handed and writes it when the client's window has room; only then does it ask again
    /// after it was told that there is nothing more. So being asked again means that everything before went out.
    fn asked_again(&mut self) {
        if std::mem::take(&mut self.was_pending)
            && let Some(position) = self.handed_out.take()
        {
            self.channel.lock().handed_over = position;
            self.channel.taken.notify_one();
        }
    }

    fn hand_out(&mut self) -> Option<T> {
        let out = self.local.pop_front()?;
        self.handed_out = out.position.or(self.handed_out);
        Some(out.frame)
    }
}

impl<T> fmt::Debug for OutStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutStream").field("local", &self.local.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for OutHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutHandle").field("progress", &self.progress()).finish()
    }
}

impl<T: Unpin> Stream for OutStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.asked_again();
        if let Some(frame) = this.hand_out() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let mut state = this.channel.lock();
        if !state.frames.is_empty() {
            std::mem::swap(&mut state.frames, &mut this.local);
            let taken = std::mem::take(&mut state.queue);
            drop(state);
            this.channel.queue_bytes.dec_by(as_gauge(taken.bytes));
            this.channel.taken.notify_one();
            return Poll::Ready(this.hand_out().map(Ok));
        }
        if this.local.capacity() > KEEP_FRAMES {
            this.local = VecDeque::new();
        }
        if state.end.is_some() && this.handed_out.is_some() {
            // What was handed out goes out before the end does, so that a clean end says that everything did.
            this.was_pending = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(end) = state.end.replace(Ok(())) {
            state.ended = true;
            this.channel.taken.notify_one();
            return Poll::Ready(end.err().map(Err));
        }
        state.end = None;
        this.was_pending = true;
        // The same task asks again and again: most wake-ups need no new waker.
        match &mut state.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Drop for OutStream<T> {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.gone = true;
        state.frames = VecDeque::new();
        let left = std::mem::take(&mut state.queue);
        drop(state);
        self.channel.queue_bytes.dec_by(as_gauge(left.bytes));
        self.channel.taken.notify_one();
    }
}

fn as_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    fn frame(n: u64) -> OutFrame<u64> {
        OutFrame { frame: n, bytes: 10, position: Some(Position(n)) }
    }

    #[tokio::test]
    async fn frames_come_out_in_order_and_what_was_taken_is_known() {
        let (handle, mut stream) = outgoing::<u64>(Gauge::default());
        handle.push(&mut vec![frame(1), frame(2)]);
        assert_eq!((handle.progress().queue.messages, handle.progress().queue.bytes), (2, 20));
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        handle.taken().await;
        let progress = handle.progress();
        assert_eq!((progress.queue.messages, progress.handed_over), (0, Position(0)));
        handle.push(&mut vec![frame(3)]);
        handle.end(Ok(()), false);
        handle.push(&mut vec![frame(4)]);
        assert_eq!(stream.next().await.unwrap().unwrap(), 2);
        assert_eq!(stream.next().await.unwrap().unwrap(), 3);
        assert_eq!((handle.progress().handed_over, handle.progress().ended), (Position(0), false));
        assert!(stream.next().await.is_none(), "nothing follows the end");
        assert_eq!((handle.progress().handed_over, handle.progress().ended), (Position(3), true));
    }

    #[tokio::test]
    async fn a_frame_counts_as_handed_over_once_the_transport_asks_again_after_a_pause() {
        let (handle, mut stream) = outgoing::<u64>(Gauge::default());
        handle.push(&mut vec![frame(1), frame(2)]);
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert_eq!(stream.next().await.unwrap().unwrap(), 2);
        assert!(stream.next().now_or_never().is_none());
        assert_eq!(handle.progress().handed_over, Position(0), "it may still wait for the client's window");
        assert!(stream.next().now_or_never().is_none());
        assert_eq!(handle.progress().handed_over, Position(2));
    }

    #[tokio::test]
    async fn an_end_at_once_throws_away_what_nobody_reads() {
        let gauge = Gauge::default();
        let (handle, mut stream) = outgoing::<u64>(gauge.clone());
        handle.push(&mut vec![frame(1), frame(2)]);
        assert_eq!(gauge.get(), 20);
        handle.end(Err(Status::unavailable("gone")), true);
        assert_eq!(gauge.get(), 0);
        assert_eq!(stream.next().await.unwrap().unwrap_err().message(), "gone");
    }

    #[tokio::test]
    async fn a_dropped_session_ends_the_stream_with_an_error() {
        let (handle, mut stream) = outgoing::<u64>(Gauge::default());
        assert!(stream.next().now_or_never().is_none());
        drop(handle);
        assert!(stream.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_dropped_stream_is_noticed_and_its_bytes_are_given_back() {
        let gauge = Gauge::default();
        let (handle, stream) = outgoing::<u64>(gauge.clone());
        handle.push(&mut vec![frame(1)]);
        drop(stream);
        handle.taken().await;
        assert!(handle.progress().gone);
        handle.push(&mut vec![frame(2)]);
        assert_eq!(gauge.get(), 0);
    }
}
