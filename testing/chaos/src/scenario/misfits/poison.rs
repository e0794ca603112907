//! Sends only events whose executor gives up, by turns for good and by a panic.

use std::time::Duration;

use nimbus_client::{Client, Event, Outbox};
use tokio::time::{MissedTickBehavior, interval};

use super::{Misfit, Target};

const PACE: Duration = Duration::from_millis(10);

pub(super) async fn behave(target: &Target) -> anyhow::Result<()> {
    let id = target.client(Misfit::Poison);
    let client = Client::builder(target.url()).client_id(id).outbox(Outbox::memory()).connect().await?;
    let sending = async {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for kind in ["poison", "panic"].into_iter().cycle() {
            ticks.tick().await;
            let payload = format!(r#"{{"kind":"{kind}"}}"#);
            client.send(Event::new("fail", payload).content_type("application/json")).await?;
            target.count();
        }
        Ok(())
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
