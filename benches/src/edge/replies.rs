//! Answers on their way to a stream, in chunks: one message between tasks for all answers of a batch.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::Status;

/// The receiving side: a response stream.
#[derive(Debug)]
pub(crate) struct Replies<M> {
    chunks: UnboundedReceiver<Vec<M>>,
    current: std::vec::IntoIter<M>,
}

pub(crate) fn replies<M>() -> (UnboundedSender<Vec<M>>, Replies<M>) {
    let (chunks_tx, chunks) = unbounded_channel();
    (chunks_tx, Replies { chunks, current: Vec::new().into_iter() })
}

impl<M: Unpin> Stream for Replies<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.current.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            match self.chunks.poll_recv(cx) {
                Poll::Ready(Some(chunk)) => self.current = chunk.into_iter(),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
