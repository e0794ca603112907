//! Reading from the client: not while the log has no room, and knowing whether anything is left unread.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use nimbus_core::ports::log::EventLog;

/// Says in `all_is_read` whether there was nothing to read when it was last polled, but for what the log has no room for.
pub(super) async fn next_frame<S: Stream + Unpin>(
    inbound: &mut S,
    events: &Arc<EventLog>,
    all_is_read: &mut bool,
) -> Option<S::Item> {
    events.ready().await;
    std::future::poll_fn(|cx| {
        let polled = inbound.poll_next_unpin(cx);
        *all_is_read = polled.is_pending();
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn all_is_read_only_when_the_client_has_sent_nothing_more() {
        let (_dir, store) = testing::store().await;
        let events = store.events();
        let mut inbound = stream::iter(['a']).chain(stream::pending());
        let mut all_is_read = true;
        assert_eq!(next_frame(&mut inbound, &events, &mut all_is_read).await, Some('a'));
        assert!(!all_is_read, "there may be more");
        assert!(next_frame(&mut inbound, &events, &mut all_is_read).now_or_never().is_none());
        assert!(all_is_read);
    }
}
