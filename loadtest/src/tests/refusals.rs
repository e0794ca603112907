//! What cannot begin, and why.

use std::time::Duration;

use super::servers::honest;
use crate::{Limit, LoadConfig, LoadError, Protocol, Weighted, run};

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let nobody = LoadConfig::new("127.0.0.1:9", Protocol::V1);
    assert!(matches!(run(&nobody, |_| {}).await, Err(LoadError::Connect { .. })));
    for config in [
        LoadConfig { streams: 0, ..nobody.clone() },
        LoadConfig { connections: 0, ..nobody.clone() },
        LoadConfig { window: 0, ..nobody.clone() },
        LoadConfig { limit: Limit::Events(0), ..nobody.clone() },
        LoadConfig { limit: Limit::Duration(Duration::ZERO), ..nobody.clone() },
        LoadConfig { event_name: String::new(), ..nobody.clone() },
        LoadConfig { payload_bytes: 2 << 20, ..nobody.clone() },
        LoadConfig { payload_bytes: 64, protocol: Protocol::Original, ..nobody.clone() },
        LoadConfig { mix: vec![Weighted { name: "sq".to_owned(), weight: 0 }], ..nobody.clone() },
        LoadConfig { churn: -1.0, ..nobody.clone() },
        LoadConfig { churn: 1e-9, ..nobody.clone() },
        LoadConfig { churn: f64::NAN, ..nobody.clone() },
        LoadConfig { churn: 1.0, protocol: Protocol::Original, ..nobody.clone() },
        LoadConfig { rate: Some(1.0), think: Duration::from_secs(1), ..nobody.clone() },
        LoadConfig { slow_readers: 2, ..nobody.clone() },
        LoadConfig { slow_pause: Duration::from_secs(10), ..nobody.clone() },
        LoadConfig { rate: Some(0.0), ..nobody.clone() },
        LoadConfig { rate: Some(f64::NAN), ..nobody.clone() },
    ] {
        assert!(matches!(run(&config, |_| {}).await, Err(LoadError::Config(_))), "{config:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_from_a_server_that_is_not_there() {
    let server = honest().await;
    let token = Some("0123456789abcdef".to_owned());
    let config = LoadConfig { token, ..LoadConfig::new(server.address.to_string(), Protocol::V1) };
    match run(&config, |_| {}).await {
        Err(LoadError::Refused { code: 16, why, .. }) => assert!(why.contains("a token that nobody has"), "{why}"),
        other => panic!("{other:?}"),
    }
}
