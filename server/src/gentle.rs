//! New connections, taken one by one between everything else that is to be done.
//!
//! After an outage thousands of clients connect in one moment. Taken as they come, all of their handshakes stand in the runtime's queue
//! at once, and each stream that is open already waits for all of them, each time. Taken one at a time with a turn for everybody in
//! between, there are only ever as many handshakes as there is time for; the others wait in the listener's backlog, where they cost
//! nothing. On an idle server a turn is over at once.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};

/// Lets everybody else have a turn after each item.
#[derive(Debug)]
pub(crate) struct Gentle<S> {
    items: S,
    /// An item was taken, and nobody had a turn since.
    yields: bool,
}

impl<S> Gentle<S> {
    pub(crate) const fn new(items: S) -> Self {
        Self { items, yields: false }
    }
}

impl<S: Stream + Unpin> Stream for Gentle<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if std::mem::take(&mut self.yields) {
            // A task that wakes itself goes behind all that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = self.items.poll_next_unpin(cx);
        self.yields = matches!(item, Poll::Ready(Some(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn whoever_is_ready_has_a_turn_between_two_connections() {
        let order = Arc::new(Mutex::new(String::new()));
        let taking = ['a', 'b'].map(|name| {
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                let mut items = Gentle::new(stream::iter(0..3));
                while items.next().await.is_some() {
                    order.lock().unwrap().push(name);
                }
            })
        });
        for taking in taking {
            taking.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "ababab");
    }
}
