//! The baseline answers rightly: a wrong one would be no limit.

use std::time::Duration;

use nimbus_loadtest::{Limit, LoadConfig, Protocol};

#[tokio::test]
async fn both_protocols_are_answered_rightly() {
    let directory = tempfile::tempdir().unwrap();
    let (address_tx, address) = tokio::sync::oneshot::channel();
    let files = directory.path().to_owned();
    let server = tokio::spawn(async move {
        super::serve(&files, |address| address_tx.send(address).unwrap()).await.unwrap();
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
    // A record for each.
    assert_eq!(std::fs::metadata(directory.path().join("baseline.log")).unwrap().len(), 4000 * 64);
    server.abort();
}
