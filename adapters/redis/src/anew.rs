//! Whether a connection was made anew: what answers at its other end may be another Redis than before, one that lacks what the
//! former one was told last.
//!
//! The library says so before anything is sent over the new connection. Whoever has an answer and asks here afterwards therefore
//! knows whether it can have come over one.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use fred::{clients::Client, interfaces::EventInterface as _, types::config::Server};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// What the library tells of a client's connections.
#[derive(Debug)]
pub(crate) struct Anew {
    events: Mutex<Receiver<Server>>,
    /// How often connections were made.
    made: AtomicU64,
    /// How many of those are known to lead to the same Redis as before.
    settled: AtomicU64,
}

/// The connections made so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made(u64);

impl Anew {
    /// Listens to a client that is connected.
    pub(crate) fn listen(client: &Client) -> Self {
        Self { events: Mutex::new(client.reconnect_rx()), made: AtomicU64::new(0), settled: AtomicU64::new(0) }
    }

    /// The connections made so far, if it is not known of all of them where they lead.
    pub(crate) fn unsettled(&self) -> Option<Made> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = events.try_recv() {
            self.made.fetch_add(1, Ordering::SeqCst);
        }
        let made = self.made.load(Ordering::SeqCst);
        (made != self.settled.load(Ordering::SeqCst)).then_some(Made(made))
    }

    /// It was asked, after these were made, and it is the same Redis. What was made since is not settled by that.
    pub(crate) fn settle(&self, made: Made) {
        self.settled.fetch_max(made.0, Ordering::SeqCst);
    }
}
