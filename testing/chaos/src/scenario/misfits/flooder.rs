//! Sends one event after the other, as fast as the SDK takes them, and reads what comes: it breaks no rule and is only too much.

use nimbus_client::Event;

use super::{Misfit, Target, reading};

pub(super) async fn behave(target: &Target) -> anyhow::Result<()> {
    let client = target.connect(Misfit::Flooder).await?;
    let payload = vec![b'x'; target.bytes];
    let sending = async {
        loop {
            client.send(Event::new("echo", payload.clone())).await?;
            target.count();
        }
    };
    reading(&client, sending).await
}
