//! Publishes to a stream of JetStream, and hears of each acknowledgement without holding up what comes next.

use async_nats::{
    Subject,
    jetstream::{Context, Message, context::PublishAckFuture},
};
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Record, give_up};

/// What is published and not yet known to be stored.
struct Published {
    ack: PublishAckFuture,
    /// Acknowledged when it is.
    event: Option<Message>,
}

/// Publishes to one subject, in order.
#[derive(Debug)]
pub(crate) struct Publisher {
    jetstream: Context,
    subject: Subject,
    // Bounded by the acknowledgements that the client allows to be outstanding.
    published: UnboundedSender<Published>,
}

impl Publisher {
    /// Must be called within a runtime, which waits for the acknowledgements.
    pub(crate) fn start(jetstream: Context, subject: String) -> Self {
        let (published_tx, published) = unbounded_channel();
        tokio::spawn(confirm(published));
        Self { jetstream, subject: subject.into(), published: published_tx }
    }

    /// Waits while the client has as many acknowledgements outstanding as it allows, not for this one's. When this and
    /// all before it are stored, `event` is acknowledged.
    pub(crate) async fn send(&self, record: &Record, event: Option<Message>) {
        let payload = Bytes::copy_from_slice(record.bytes());
        let ack = self.jetstream.publish(self.subject.clone(), payload).await.unwrap_or_else(|error| give_up(error));
        if self.published.send(Published { ack, event }).is_err() {
            give_up("nobody waits for acknowledgements");
        }
    }
}

/// Ends the process when something could not be stored. Acknowledgements come in the order of what they are for.
async fn confirm(mut published: UnboundedReceiver<Published>) {
    while let Some(Published { ack, event }) = published.recv().await {
        ack.await.unwrap_or_else(|error| give_up(error));
        if let Some(event) = event {
            event.ack().await.unwrap_or_else(|error| give_up(error));
        }
    }
}
