//! Whether a connection was made anew: what answers at its other end may be another Redis than before, one that lacks what the
//! former one was told last.
//!
//! The library says so before anything is sent over the new connection. Whoever has an answer and asks here afterwards therefore
//! knows whether it can have come over one.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use fred::{clients::Client, interfaces::EventInterface as _, types::config::Server};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// What the library tells of its clients' connections.
#[derive(Debug, Default)]
pub(crate) struct Anew {
    events: Mutex<Vec<Receiver<Server>>>,
    is_unsure: AtomicBool,
}

impl Anew {
    /// Listens to a client that is connected.
    pub(crate) fn listen(&self, client: &Client) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(client.reconnect_rx());
    }

    /// Whether a connection was made anew since the last [`settle`](Self::settle).
    pub(crate) fn is_unsure(&self) -> bool {
        if self.take_events() {
            self.is_unsure.store(true, Ordering::SeqCst);
        }
        self.is_unsure.load(Ordering::SeqCst)
    }

    /// Before it is asked who is there: what happens from here on counts anew.
    pub(crate) fn settle(&self) {
        self.take_events();
        self.is_unsure.store(false, Ordering::SeqCst);
    }

    /// It could not be found out, or somebody else is there.
    pub(crate) fn unsettle(&self) {
        self.is_unsure.store(true, Ordering::SeqCst);
    }

    fn take_events(&self) -> bool {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        for events in &mut *events {
            while let Ok(_) | Err(TryRecvError::Lagged(_)) = events.try_recv() {
                any = true;
            }
        }
        any
    }
}
