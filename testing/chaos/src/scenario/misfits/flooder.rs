//! Sends one event after the other, as fast as the SDK takes them, and reads what comes: it breaks no rule and is only too much.

use nimbus_client::{Client, Event, Outbox};

use super::{Misfit, Target};

pub(super) async fn behave(target: &Target) -> anyhow::Result<()> {
    let id = target.client(Misfit::Flooder);
    let client = Client::builder(target.url()).client_id(id).outbox(Outbox::memory()).connect().await?;
    let payload = vec![b'x'; target.bytes];
    let sending = async {
        loop {
            client.send(Event::new("echo", payload.clone())).await?;
            target.count();
        }
    };
    let reading = async {
        while client.recv().await?.is_some() {}
        Ok(())
    };
    tokio::select! {
        ended = sending => ended,
        ended = reading => ended,
    }
}
