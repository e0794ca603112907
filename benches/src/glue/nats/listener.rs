//! The server's ear: what is stored as a result goes to the streams.

use std::sync::Arc;

use async_nats::jetstream::consumer::push;
use futures_util::StreamExt;

use super::{BATCH, Lines, give_up, record};

/// Must be called within a runtime.
pub(super) fn start(results: push::Ordered, lines: Arc<Lines>) {
    tokio::spawn(listen(results, lines));
}

/// Until the process ends.
async fn listen(results: push::Ordered, lines: Arc<Lines>) {
    let mut batches = results.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let records = batch.into_iter().map(|result| record(&result.unwrap_or_else(|error| give_up(error))));
        lines.answer(records.collect());
    }
    give_up("there are no more results");
}
