//! Where a session's deliveries come from when it is not live: the mailbox, or the log below the mailbox's floor.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use nimbus_core::{
    Origin, Position, ResultRecord,
    ports::{log::Stored, mailbox::Page},
    session::{Close, Fetch},
};

use crate::{scan::ScanRequest, shared::Shared, status};

/// What a read brought.
pub(crate) type Fetched = Result<FetchedPage, Close>;

/// A page, and up to where it is complete.
#[derive(Debug)]
pub(crate) struct FetchedPage {
    pub(crate) records: Vec<Stored<ResultRecord>>,
    pub(crate) through: Position,
    /// Nothing was held back by the limits of the read.
    pub(crate) complete: bool,
}

/// Reads one page for a session.
pub(crate) fn fetch(shared: Arc<Shared>, origin: Arc<Origin>, fetch: Fetch) -> BoxFuture<'static, Fetched> {
    Box::pin(async move {
        shared.metrics.fetches.inc();
        let client = &origin.client;
        if !fetch.pause.is_zero() {
            tokio::time::sleep(fetch.pause).await;
        }
        let page = shared.ports.mailbox.read(client, fetch.from, fetch.max_records, fetch.max_bytes).await;
        match page {
            Ok(Page::Records { records, through, complete }) => Ok(FetchedPage { records, through, complete }),
            Ok(Page::BelowFloor { .. }) => {
                let request = ScanRequest::new(Arc::clone(&origin), fetch);
                shared.scanner.scan(request).await.map_err(|error| {
                    tracing::warn!(%client, %error, "old results could not be read from the log");
                    status::from_log(&error)
                })
            }
            Err(error) => {
                tracing::warn!(%client, %error, "a mailbox could not be read");
                Err(status::from_mailbox(&error))
            }
        }
    })
}
