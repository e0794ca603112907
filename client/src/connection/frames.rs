//! The request stream: pulls frames out of the machine as HTTP/2 asks for them.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use nimbus_proto::v1::ClientFrame;
use tokio::time::Instant;

use crate::shared::Shared;

/// Frames that are taken under one lock.
const BATCH: usize = 64;

/// One per stream; ends once the machine no longer wants its stream.
#[derive(Debug)]
pub(super) struct Frames {
    shared: Arc<Shared>,
    generation: u64,
    ready: VecDeque<ClientFrame>,
}

impl Frames {
    pub(super) const fn new(shared: Arc<Shared>, generation: u64) -> Self {
        Self { shared, generation, ready: VecDeque::new() }
    }
}

impl Stream for Frames {
    type Item = ClientFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientFrame>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let this = &mut *self;
        let mut core = this.shared.lock();
        let now = Instant::now();
        while this.ready.len() < BATCH
            && let Some(frame) = core.machine.next_frame(now, this.generation)
        {
            this.ready.push_back(frame);
        }
        if let Some(frame) = this.ready.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if !core.machine.wants_stream(this.generation) {
            return Poll::Ready(None);
        }
        core.frame_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
