//! Wakes the member's thread. Rings while it is awake are one.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Duration,
};

#[derive(Debug, Clone)]
pub(super) struct Bell(SyncSender<()>);

#[derive(Debug)]
pub(super) struct Rings(Receiver<()>);

pub(super) fn bell() -> (Bell, Rings) {
    let (ring_tx, ring_rx) = sync_channel(1);
    (Bell(ring_tx), Rings(ring_rx))
}

impl Bell {
    pub(super) fn ring(&self) {
        // Full: it rings already. Gone: nobody is left to wake.
        let (Ok(()) | Err(_)) = self.0.try_send(());
    }
}

impl Rings {
    /// Waits for a ring, at most so long. Says whether there was one.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        self.0.recv_timeout(limit).is_ok()
    }
}
