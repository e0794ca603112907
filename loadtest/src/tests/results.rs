//! What a load leaves: its report, its cost, its result.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{load, servers::honest};
use crate::{Cost, Limit, LoadConfig, Protocol, run_until};

#[tokio::test]
async fn what_it_costs_is_in_the_report() {
    let server = honest().await;
    let report = load(&server, |config| {
        // Enough to take some ticks of the clock that counts CPU time.
        config.limit = Limit::Events(20_000);
        config.window = 64;
        // The server runs in this process.
        config.server_pids = vec![std::process::id()];
    })
    .await;
    assert!(report.is_clean(), "{report}");
    let Cost { machines, servers } = &report.cost;
    assert_eq!((machines.len(), servers.len()), (1, 1), "{report}");
    assert!(machines[0].load_cpu_seconds > 0.0 && machines[0].busy > 0.0, "{report}");
    assert!(servers[0].cpu_us_per_event > 0.0 && servers[0].rss_max_mib > 1.0, "{report}");
    assert!(report.to_string().contains("the load process used"), "{report}");
}

#[tokio::test]
async fn a_result_has_every_latency_and_every_second() {
    let server = honest().await;
    let config = LoadConfig {
        streams: 2,
        limit: Limit::Duration(Duration::from_millis(1500)),
        warmup: Duration::ZERO,
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    let result = run_until(&config, CancellationToken::new(), |_| {}).await.unwrap();
    assert!(result.report.is_clean(), "{}", result.report);
    assert_eq!(result.latencies.histogram().unwrap().len(), result.report.measured);
    assert_eq!(result.samples.iter().map(|sample| sample.answered).sum::<u64>(), result.report.measured);
    assert!(result.samples.windows(2).all(|pair| pair[0].unix_second < pair[1].unix_second), "{:?}", result.samples);
    let seconds = result.samples.iter().map(|sample| sample.seconds).sum::<f64>();
    assert!((seconds - 1.5).abs() < 1e-6, "{seconds}");
}

#[test]
fn a_report_is_json_without_secrets() {
    let config = LoadConfig { token: Some("secret".to_owned()), ..LoadConfig::new("x", Protocol::V1) };
    assert!(!serde_json::to_string(&config).unwrap().contains("secret"));
}
