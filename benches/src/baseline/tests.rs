//! The baseline answers rightly: a wrong one would be no limit.

use std::{path::PathBuf, time::Duration};

use nimbus_loadtest::{Limit, LoadConfig, Protocol};

#[tokio::test]
async fn both_protocols_are_answered_rightly() {
    let directory = tempfile::tempdir().unwrap();
    answers_both(Some(directory.path().to_owned())).await;
    // A record for each.
    assert_eq!(std::fs::metadata(directory.path().join("baseline.log")).unwrap().len(), 4000 * 64);
}

#[tokio::test]
async fn so_they_are_without_a_file() {
    answers_both(None).await;
}

async fn answers_both(directory: Option<PathBuf>) {
    let (address_tx, address) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        super::serve(directory.as_deref(), |address| address_tx.send(address).unwrap()).await.unwrap();
    });
    let address = address.await.unwrap().to_string();
    for protocol in [Protocol::V1, Protocol::Original] {
        let config = LoadConfig {
            streams: 4,
            connections: 2,
            window: 16,
            limit: Limit::Events(2000),
            warmup: Duration::ZERO,
            ..LoadConfig::new(&address, protocol)
        };
        let report = nimbus_loadtest::run(&config, |_| {}).await.unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.answered, 2000);
    }
    server.abort();
}
