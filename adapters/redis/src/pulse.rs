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
    types::{ClientState, ConnectHandle, Value},
};
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use crate::metrics::RedisMetrics;

/// Between two tries to start a client again.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks every so often, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Vec<AbortHandle>);

impl Pulse {
    /// Looks after a client too. `running` is what its `init` gave.
    pub(crate) fn feel(&mut self, client: Client, running: ConnectHandle, every: Duration, metrics: RedisMetrics) {
        self.0.push(tokio::spawn(feel(client, running, every, metrics)).abort_handle());
    }

    /// Before the clients are ended on purpose.
    pub(crate) fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn feel(client: Client, mut running: ConnectHandle, every: Duration, metrics: RedisMetrics) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What it cannot make sense of ends it, and whatever is asked of it from then on would wait in vain.
            ended = &mut running => {
                metrics.silences.inc();
                tracing::warn!(?ended, "the client of redis has ended, starting it again");
                running = start_again(&client).await;
                continue;
            }
            _ = ticks.tick() => {}
        }
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

async fn start_again(client: &Client) -> ConnectHandle {
    loop {
        match client.init().await {
            Ok(running) => return running,
            Err(error) => tracing::debug!(%error, "it does not start yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
