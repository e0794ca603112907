//! An application over the SDK: sends its events, takes what comes, now and then slowly, and now and then dies.

use std::{sync::Arc, time::Duration};

use nimbus_client::{Client, Event, Outbox};
use tokio::task::JoinHandle;

use crate::{
    dice::mix,
    ledger,
    network::Dial,
    process::{Backend, client_name, token_of},
    work::Work,
};

/// One application, in its present incarnation.
#[derive(Debug)]
pub(crate) struct User {
    backend: Arc<Backend>,
    number: usize,
    life: u64,
    outbox: ledger::Outbox,
    client: Client,
    sending: JoinHandle<()>,
    receiving: JoinHandle<()>,
}

impl User {
    pub(crate) async fn start(backend: &Arc<Backend>, number: usize) -> Option<Self> {
        let world = &backend.world;
        let (life, name) = (backend.births.next(), client_name(number));
        world.step("client", life, number as u64);
        let client = Client::builder("http://simulated")
            .client_id(&name)
            .token(token_of(&name))
            .outbox(Outbox::memory().capacity(64))
            .receive_window(world.plan.receive_window)
            .connector(Arc::new(Dial { network: Arc::clone(&backend.network), client: life }))
            .seed(mix(&[world.seed, life]))
            .start()
            .await;
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                world.ledger.violated(format!("{name} could not start: {error}"));
                return None;
            }
        };
        let outbox = world.ledger.opened(&name, &client);
        let sending = tokio::spawn(send(Arc::clone(backend), name.clone(), client.clone(), outbox));
        let receiving = tokio::spawn(receive(Arc::clone(backend), name, client.clone(), outbox));
        Some(Self { backend: Arc::clone(backend), number, life, outbox, client, sending, receiving })
    }

    /// With everything that it had in memory. Returns which one it was.
    pub(crate) fn kill(self) -> usize {
        self.backend.world.step("client dies", self.life, 0);
        self.backend.network.cut_all(self.life);
        self.backend.world.ledger.abandoned(self.outbox);
        self.number
    }

    /// Whether its session was taken from it for good.
    pub(crate) fn is_gone(&self) -> bool {
        self.receiving.is_finished()
    }

    pub(crate) fn has_sent(&self) -> bool {
        self.sending.is_finished()
    }

    /// One more, so that something follows whatever was lost last.
    pub(crate) async fn send_last(&self) {
        let name = client_name(self.number);
        send_one(&self.backend, &name, &self.client, self.outbox).await;
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.sending.abort();
        self.receiving.abort();
    }
}

async fn send(backend: Arc<Backend>, name: String, client: Client, outbox: ledger::Outbox) {
    let world = &backend.world;
    for _ in 0..world.plan.events {
        let pause = match world.dice.below(10) {
            _ if world.is_calm() => Duration::from_millis(1),
            0..5 => Duration::ZERO,
            5..9 => world.dice.millis(1, 200),
            _ => world.dice.millis(200, 3_000),
        };
        tokio::time::sleep(pause).await;
        send_one(&backend, &name, &client, outbox).await;
    }
}

async fn send_one(backend: &Backend, name: &str, client: &Client, outbox: ledger::Outbox) {
    let world = &backend.world;
    let work = Work::draw(&world.dice, name, client.last_seq() + 1);
    match client.send(Event::new(work.name(), work.payload())).await {
        // Nothing else ran in between: the books know of it before the log does.
        Ok(seq) => world.ledger.sent(outbox, seq.get(), work),
        Err(error) => world.ledger.ended(name, outbox, &error),
    }
}

async fn receive(backend: Arc<Backend>, name: String, client: Client, outbox: ledger::Outbox) {
    let world = &backend.world;
    loop {
        if !world.is_calm() && world.dice.per_mille(50) {
            tokio::time::sleep(world.dice.millis(50, 5_000)).await;
        }
        match client.recv().await {
            Ok(Some(incoming)) => world.ledger.received(world, outbox, &incoming),
            Ok(None) => return,
            Err(error) => return world.ledger.ended(&name, outbox, &error),
        }
    }
}
