//! Sends only events whose executor gives up, by turns for good and by a panic.

use std::time::Duration;

use nimbus_client::Event;
use tokio::time::{MissedTickBehavior, interval};

use super::{Misfit, Target, reading};

const PACE: Duration = Duration::from_millis(10);

pub(super) async fn behave(target: &Target) -> anyhow::Result<()> {
    let client = target.connect(Misfit::Poison).await?;
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
    reading(&client, sending).await
}
