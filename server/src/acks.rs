//! Acknowledgements on their way to the mailbox: gathered and sent once a second, by the dispatcher.
//!
//! They are a trim hint (SDK) or the kept position (original protocol); the newest of a client replaces the older.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nimbus_core::{ClientId, chance::HashMap, ports::mailbox::MailboxAck};

use crate::shared::Shared;

/// What has not been sent yet: at most one per client.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    waiting: Mutex<HashMap<ClientId, MailboxAck>>,
}

impl Acks {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, MailboxAck>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, ack: MailboxAck) {
        self.lock().insert(ack.client.clone(), ack);
    }

    /// Sends what has gathered.
    pub(crate) async fn flush(&self, shared: &Shared) {
        let waiting: Vec<_> = std::mem::take(&mut *self.lock()).into_values().collect();
        send(shared, &waiting).await;
    }

    /// Sends what one client's session leaves behind, before it is released.
    pub(crate) async fn flush_client(&self, shared: &Shared, client: &ClientId) {
        let left = self.lock().remove(client);
        send(shared, left.as_slice()).await;
    }
}

async fn send(shared: &Shared, acks: &[MailboxAck]) {
    if acks.is_empty() {
        return;
    }
    if let Err(error) = shared.ports.mailbox.ack(acks).await {
        // A hint: the next one replaces it, and what is not trimmed now goes when the window closes.
        tracing::debug!(count = acks.len(), %error, "acknowledgements did not reach the mailbox");
    }
}
