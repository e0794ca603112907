//! The harness against servers that do wrong in known ways: what it reports is what they did.

mod clients;
mod loops;
mod refusals;
mod results;
mod servers;
mod verdicts;

use std::time::Duration;

use self::servers::TestServer;
use crate::{Limit, LoadConfig, LoadReport, Protocol, run};

/// 300 events over three streams of the original protocol, unless they are changed.
fn config(server: &TestServer, change: impl FnOnce(&mut LoadConfig)) -> LoadConfig {
    let mut config = LoadConfig {
        streams: 3,
        connections: 2,
        window: 8,
        limit: Limit::Events(300),
        warmup: Duration::ZERO,
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    change(&mut config);
    config
}

/// That load, and what it comes to.
async fn load(server: &TestServer, change: impl FnOnce(&mut LoadConfig)) -> LoadReport {
    run(&config(server, change), |_| {}).await.unwrap()
}

/// The same over v1.
fn over_v1(config: &mut LoadConfig) {
    config.protocol = Protocol::V1;
    config.event_name = "echo".to_owned();
}
