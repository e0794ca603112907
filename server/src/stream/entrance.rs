//! Where a stream comes in: is there room, who is calling, and then its one task.

use std::{future::Future, sync::Arc};

use nimbus_core::{
    Reason,
    ports::authenticator::Credentials,
    session::{Close, Dialect},
};
use tonic::{Code, Response, Status, Streaming, metadata::MetadataMap};
use tracing::Instrument as _;

use super::{
    driver::{Driver, end},
    opening::Opening,
    out::{OutHandle, OutStream, outgoing},
    wire::Wire,
};
use crate::{
    metrics::{self, Counted},
    shared::{Shared, StreamPermit},
    status,
};

/// A stream that was let in.
#[derive(Debug)]
pub(crate) struct Entrance {
    shared: Arc<Shared>,
    permit: StreamPermit,
    open: Counted,
}

impl Entrance {
    /// Lets a stream in.
    ///
    /// # Errors
    /// The status that refuses it: the server drains, or has too many streams.
    pub(crate) fn enter(shared: &Arc<Shared>, dialect: Dialect) -> Result<Self, Status> {
        if shared.draining.is_cancelled() {
            return Err(status::refused(&draining()));
        }
        let Some(permit) = shared.admit_stream() else {
            let limit = shared.config.max_streams;
            return Err(status::refuse(Reason::TooManyStreams, format!("{limit} streams are open, the most allowed")));
        };
        Ok(Self { shared: Arc::clone(shared), permit, open: count(shared, dialect) })
    }

    /// Starts the stream's task: `begin` brings what the session needs (`Err(None)`: the client is gone already).
    pub(crate) fn spawn<W: Wire>(
        self,
        begin: impl Future<Output = Result<(W, Streaming<W::In>, Opening), Option<Close>>> + Send + 'static,
    ) -> Response<OutStream> {
        let Self { shared, permit, open } = self;
        let (out, stream) = outgoing(shared.metrics.queue_bytes.clone());
        let tasks = shared.tasks.clone();
        // Boxed, so that what opening needs does not stay in the task for as long as the stream is open.
        let opening = Box::pin(open_session(shared, out, begin));
        let session = async move {
            let _held = (permit, open);
            if let Some(driver) = opening.await {
                driver.run().await;
            }
        };
        tasks.spawn(session.instrument(tracing::debug_span!("stream")));
        Response::new(stream)
    }
}

/// What comes before a session runs: its Hello, its client, and what the client is told first. `None`: it has ended by then.
async fn open_session<W: Wire>(
    shared: Arc<Shared>,
    out: OutHandle,
    begin: impl Future<Output = Result<(W, Streaming<W::In>, Opening), Option<Close>>>,
) -> Option<Box<Driver<W>>> {
    let opening = async {
        let prepare = async {
            let (wire, inbound, opening) = begin.await?;
            let partition = shared.ports.results.partitions().partition_of(&opening.client);
            let turn = shared.openings.turn(partition).await;
            Ok::<_, Option<Close>>((wire, inbound, opening.prepare(&shared).await?, turn))
        };
        let (wire, inbound, prepared, _turn) = tokio::select! {
            biased;
            // A stream that has not said Hello yet must not hold a shutdown up.
            () = shared.draining.cancelled() => return Err(Some(draining())),
            prepared = prepare => prepared?,
        };
        // From here on it may hold its client: it is seen through, and closed as every open session is.
        Ok((wire, inbound, prepared.claim(&shared).await?))
    };
    match opening.await {
        Ok((wire, inbound, ready)) => Driver::open(Arc::clone(&shared), wire, inbound, out, ready).await,
        Err(close) => {
            if let Some(close) = close {
                end(&shared, &out, &close);
            }
            None
        }
    }
}

fn draining() -> Close {
    Close::because(Reason::Draining, "the server shuts down; reconnect, any server will do")
}

/// Counts a stream that opens, and that it is open.
fn count(shared: &Shared, dialect: Dialect) -> Counted {
    let label = metrics::protocol(dialect);
    shared.metrics.streams_opened.get_or_create(&label).inc();
    Counted::new(&shared.metrics.streams_open.get_or_create(&label))
}

/// What the caller shows of itself. Metadata that is not text shows nothing.
pub(crate) fn credentials(metadata: &MetadataMap) -> Credentials {
    let authorization = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    Credentials { bearer }
}

/// What to tell a client whose message could not be read; `None` when the transport is gone and nobody listens.
pub(crate) fn unreadable(status: &Status) -> Option<Close> {
    match status.code() {
        // What tonic says of messages that it cannot decode or that are too large for it.
        Code::Internal | Code::OutOfRange | Code::InvalidArgument | Code::ResourceExhausted | Code::Unimplemented => {
            let message = format!("a message could not be read: {}", status.message());
            Some(Close::because(Reason::MalformedFrame, message))
        }
        _ => None,
    }
}
