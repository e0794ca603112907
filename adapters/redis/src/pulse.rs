//! Finds connections that have gone silent, and has them made again.
//!
//! The library's own check does not: it counts from the last command that was written, so that a connection over which something is
//! always asked looks alive however long nobody answers. A pause in the network that forgets its connections, or a proxy that
//! hangs, would last until the system gives up, which takes it a quarter of an hour.
//!
//! In a cluster one node is asked, whichever the library picks: a silent one among others is found later, or by the system.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::ClientLike,
    prelude::ErrorKind,
    types::{ClientState, Value},
};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use crate::metrics::RedisMetrics;

/// Asks every so often, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pulse(Vec<AbortHandle>);

impl Pulse {
    pub(crate) fn of(clients: [&Client; 2], every: Duration, metrics: &RedisMetrics) -> Self {
        let ask = |client: &Client| tokio::spawn(feel(client.clone(), every, metrics.clone())).abort_handle();
        Self(clients.map(ask).into())
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn feel(client: Client, every: Duration, metrics: RedisMetrics) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = client.ping::<Value>(None).await;
        let is_silent = asked.is_err_and(|error| *error.kind() == ErrorKind::Timeout);
        // One that is being made again does not answer either, and must be left to it.
        if is_silent && client.state() == ClientState::Connected {
            metrics.silences.inc();
            tracing::warn!("a connection to redis does not answer, making it again");
            // It fails when it is being made again already.
            drop(client.force_reconnection().await);
        }
    }
}
