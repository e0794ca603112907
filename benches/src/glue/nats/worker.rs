//! The task that does the work: events in, squares out.

use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt;

use super::{BATCH, Publisher, give_up, record};

/// Must be called within a runtime.
pub(super) fn start(events: pull::Stream, results: Publisher) {
    tokio::spawn(work(events, results));
}

/// Until the process ends.
async fn work(events: pull::Stream, results: Publisher) {
    let mut batches = events.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let mut left = batch.len();
        for event in batch {
            let event = event.unwrap_or_else(|error| give_up(error));
            let mut record = record(&event);
            record.square();
            left -= 1;
            // It stands for all of its batch.
            let is_last = left == 0;
            results.send(&record, is_last.then_some(event)).await;
        }
    }
    give_up("there are no more events");
}
