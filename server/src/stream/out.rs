//! The outgoing queue of one stream: what the session has said and HTTP/2 has not yet taken.
//!
//! The session machine bounds it, in messages and in framed bytes; here it is only counted. A round of the session says
//! all it has to say in one buffer, which goes in as one and comes out message by message: one lock and one allocation a
//! round, and a wake-up of the session only when it waits for room.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use nimbus_core::{Position, session::Queue};
use nimbus_proto::codec::Encoded;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tonic::Status;

/// Queues that grew beyond this many rounds are given back when they run empty, so that idle streams stay small.
const KEEP_ROUNDS: usize = 4;
/// gRPC's own prefix of each message, in bytes.
const PREFIX_BYTES: usize = 5;
/// A round's buffer begins as large as the round before was, up to this, in bytes.
const MAX_FIRST_BYTES: usize = 16 * 1024;

/// One message, within the buffer of its round.
#[derive(Debug, Clone, Copy)]
struct Frame {
    bytes: usize,
    /// The position after it, if it is a delivery that says when it was handed over.
    position: Option<Position>,
}

/// What one round of a session says: messages, encoded one after the other.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    buffer: BytesMut,
    frames: Vec<Frame>,
    /// How much the round before took, since the next is probably like it.
    last: (usize, usize),
}

impl Outgoing {
    /// Adds one message: what `encode` appends to the buffer.
    pub(crate) fn put(&mut self, position: Option<Position>, encode: impl FnOnce(&mut BytesMut)) {
        if self.frames.is_empty() {
            let (bytes, frames) = self.last;
            self.buffer.reserve(bytes.min(MAX_FIRST_BYTES));
            self.frames.reserve_exact(frames.max(1));
        }
        let before = self.buffer.len();
        encode(&mut self.buffer);
        self.frames.push(Frame { bytes: self.buffer.len() - before, position });
    }

    /// How many messages are in it.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes everything out, buffers and all: an idle stream keeps none.
    fn take(&mut self) -> Round {
        self.last = (self.buffer.len(), self.frames.len());
        let buffer = std::mem::take(&mut self.buffer).freeze();
        Round { buffer, frames: std::mem::take(&mut self.frames).into_iter() }
    }

    fn clear(&mut self) {
        (self.buffer, self.frames) = Default::default();
    }
}

#[cfg(test)]
impl Outgoing {
    /// Takes every message out, decoded, with its position.
    pub(crate) fn decoded<M: prost::Message + Default>(&mut self) -> Vec<(M, Option<Position>)> {
        let Round { mut buffer, frames } = self.take();
        frames.map(|frame| (M::decode(buffer.split_to(frame.bytes)).unwrap(), frame.position)).collect()
    }
}

/// The messages of one round that are not yet taken.
#[derive(Debug)]
struct Round {
    buffer: Bytes,
    frames: std::vec::IntoIter<Frame>,
}

struct State {
    rounds: VecDeque<Round>,
    queue: Queue,
    handed_over: Position,
    end: Option<Result<(), Status>>,
    reader: Option<Waker>,
    /// The stream was dropped by the transport.
    gone: bool,
    /// The end was read by the transport.
    ended: bool,
}

struct Channel {
    state: Mutex<State>,
    /// Tells the session that frames were taken, or that the stream is gone.
    taken: Notify,
    queue_bytes: Gauge,
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the queue of one stream.
pub(crate) fn outgoing(queue_bytes: Gauge) -> (OutHandle, OutStream) {
    let state = State {
        rounds: VecDeque::new(),
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
pub(crate) struct OutHandle {
    channel: Arc<Channel>,
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

impl OutHandle {
    /// Puts a round in, and empties it.
    pub(crate) fn push(&self, round: &mut Outgoing) {
        if round.frames.is_empty() {
            return;
        }
        let messages = round.frames.len();
        let bytes = round.buffer.len() + messages * PREFIX_BYTES;
        let reader = {
            let mut state = self.channel.lock();
            if state.gone || state.end.is_some() {
                round.clear();
                return;
            }
            state.queue.messages += messages;
            state.queue.bytes += bytes;
            state.rounds.push_back(round.take());
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
                state.rounds = VecDeque::new();
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

impl Drop for OutHandle {
    fn drop(&mut self) {
        // A session that vanished (its task was dropped) must not leave the client hanging.
        self.end(Err(Status::unavailable("the session was dropped")), false);
    }
}

/// The transport's side: the response stream.
pub(crate) struct OutStream {
    channel: Arc<Channel>,
    /// Taken from the queue in one go, handed out message by message.
    local: VecDeque<Round>,
    /// The last delivery handed out, if it is not known yet to have gone out.
    handed_out: Option<Position>,
    /// The transport was told that there is nothing more for now.
    was_pending: bool,
}

impl OutStream {
    /// The transport gathers what it is handed and writes it when the client's window has room; only then does it ask again
    /// after it was told that there is nothing more. So being asked again means that everything before went out, but for one chunk
    /// that the client's window may not have room for (hyper 1.12; ADR 12).
    fn asked_again(&mut self) {
        if std::mem::take(&mut self.was_pending)
            && let Some(position) = self.handed_out.take()
        {
            self.channel.lock().handed_over = position;
            self.channel.taken.notify_one();
        }
    }

    fn hand_out(&mut self) -> Option<Encoded> {
        let round = self.local.front_mut()?;
        let Some(frame) = round.frames.next() else {
            self.local.pop_front();
            return self.hand_out();
        };
        self.handed_out = frame.position.or(self.handed_out);
        Some(Encoded(round.buffer.split_to(frame.bytes)))
    }
}

impl fmt::Debug for OutStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutStream").field("local", &self.local.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for OutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutHandle").field("progress", &self.progress()).finish()
    }
}

impl Stream for OutStream {
    type Item = Result<Encoded, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.asked_again();
        if let Some(frame) = this.hand_out() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let mut state = this.channel.lock();
        if !state.rounds.is_empty() {
            std::mem::swap(&mut state.rounds, &mut this.local);
            let taken = std::mem::take(&mut state.queue);
            drop(state);
            this.channel.queue_bytes.dec_by(as_gauge(taken.bytes));
            this.channel.taken.notify_one();
            return Poll::Ready(this.hand_out().map(Ok));
        }
        if this.local.capacity() > KEEP_ROUNDS {
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

impl Drop for OutStream {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.gone = true;
        state.rounds = VecDeque::new();
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

    /// A round of one message for each number: nine bytes of it, and its position.
    fn round(numbers: &[u8]) -> Outgoing {
        let mut round = Outgoing::default();
        for n in numbers {
            round.put(Some(Position(u64::from(*n))), |buffer| buffer.extend_from_slice(&[*n; 9]));
        }
        round
    }

    /// The number of the next message.
    async fn number(stream: &mut OutStream) -> u8 {
        let Encoded(message) = stream.next().await.unwrap().unwrap();
        assert_eq!(message, [message[0]; 9].as_slice());
        message[0]
    }

    #[tokio::test]
    async fn frames_come_out_in_order_and_what_was_taken_is_known() {
        let (handle, mut stream) = outgoing(Gauge::default());
        handle.push(&mut round(&[1, 2]));
        assert_eq!((handle.progress().queue.messages, handle.progress().queue.bytes), (2, 28));
        assert_eq!(number(&mut stream).await, 1);
        handle.taken().await;
        let progress = handle.progress();
        assert_eq!((progress.queue.messages, progress.handed_over), (0, Position(0)));
        handle.push(&mut round(&[3]));
        handle.end(Ok(()), false);
        handle.push(&mut round(&[4]));
        assert_eq!(number(&mut stream).await, 2);
        assert_eq!(number(&mut stream).await, 3);
        assert_eq!((handle.progress().handed_over, handle.progress().ended), (Position(0), false));
        assert!(stream.next().await.is_none(), "nothing follows the end");
        assert_eq!((handle.progress().handed_over, handle.progress().ended), (Position(3), true));
    }

    #[tokio::test]
    async fn a_frame_counts_as_handed_over_once_the_transport_asks_again_after_a_pause() {
        let (handle, mut stream) = outgoing(Gauge::default());
        handle.push(&mut round(&[1, 2]));
        assert_eq!(number(&mut stream).await, 1);
        assert_eq!(number(&mut stream).await, 2);
        assert!(stream.next().now_or_never().is_none());
        assert_eq!(handle.progress().handed_over, Position(0), "it may still wait for the client's window");
        assert!(stream.next().now_or_never().is_none());
        assert_eq!(handle.progress().handed_over, Position(2));
    }

    #[tokio::test]
    async fn an_end_at_once_throws_away_what_nobody_reads() {
        let gauge = Gauge::default();
        let (handle, mut stream) = outgoing(gauge.clone());
        handle.push(&mut round(&[1, 2]));
        assert_eq!(gauge.get(), 28);
        handle.end(Err(Status::unavailable("gone")), true);
        assert_eq!(gauge.get(), 0);
        assert_eq!(stream.next().await.unwrap().unwrap_err().message(), "gone");
    }

    #[tokio::test]
    async fn a_dropped_session_ends_the_stream_with_an_error() {
        let (handle, mut stream) = outgoing(Gauge::default());
        assert!(stream.next().now_or_never().is_none());
        drop(handle);
        assert!(stream.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_dropped_stream_is_noticed_and_its_bytes_are_given_back() {
        let gauge = Gauge::default();
        let (handle, stream) = outgoing(gauge.clone());
        handle.push(&mut round(&[1]));
        drop(stream);
        handle.taken().await;
        assert!(handle.progress().gone);
        handle.push(&mut round(&[2]));
        assert_eq!(gauge.get(), 0);
    }
}
