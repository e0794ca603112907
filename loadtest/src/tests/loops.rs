//! Closed and open loops to their end, by both protocols.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nimbus_proto::original::EventResponse;
use tokio_util::sync::CancellationToken;

use super::{
    config, load, over_v1,
    servers::{honest, right, serve},
};
use crate::{Limit, LoadConfig, OPEN_WINDOW, Protocol, run, run_until};

#[tokio::test]
async fn a_right_server_gets_a_clean_report() {
    let server = honest().await;
    let report = load(&server, |_| {}).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.sent, report.answered), (300, 300));
    assert!(report.latency.p50_us > 0.0 && report.latency.max_us >= report.latency.p999_us);

    // One that does not know the number of ours: answers count in their order.
    let server = serve(|request, out| {
        out.push(EventResponse { client_sequence: 0, ..right(&request) });
        Ok(())
    })
    .await;
    assert!(load(&server, |_| {}).await.is_clean());
}

#[tokio::test]
async fn a_time_limit_ends_the_load() {
    let server = honest().await;
    let report = load(&server, |config| config.limit = Limit::Duration(Duration::from_millis(100))).await;
    assert!(report.is_clean() && report.sent == report.answered, "{report}");
    assert!((report.seconds - 0.1).abs() < 1e-9, "{report}");
    assert!((report.events_per_second * report.seconds - report.measured as f64).abs() < 1e-6, "{report}");
}

#[tokio::test]
async fn streams_of_a_ramp_come_one_after_the_other() {
    let server = honest().await;
    let begun = Instant::now();
    let ramped = |config: &mut LoadConfig| {
        config.ramp = Duration::from_millis(90);
        config.limit = Limit::Duration(Duration::from_millis(50));
        assert_eq!([0, 1, 2].map(|number| config.opens_after(number).as_millis()), [0, 30, 60]);
    };
    let mut config = config(&server, ramped);
    // Progress is told once a second.
    config.limit = Limit::Duration(Duration::from_millis(1_100));
    let mut rates = Vec::new();
    let report = run(&config, |now| rates.push((now.elapsed, now.events_per_second))).await.unwrap();
    let (elapsed, rate) = rates[0];
    assert!(elapsed >= Duration::from_millis(60), "the first progress is of the ramp as well: {elapsed:?}");
    assert!(rate * elapsed.as_secs_f64() <= report.answered as f64 + 1.0, "{rate} answers a second in {elapsed:?}");
    assert!(report.is_clean() && report.sent > report.measured, "the first have sent before all were there: {report}");
    assert!(begun.elapsed() >= Duration::from_millis(60 + 1_100));

    // An open loop begins when all are there, and then sends everything that has its turn.
    for connections in [2, 3] {
        let report = load(&server, |config| {
            ramped(config);
            over_v1(config);
            config.connections = connections;
            config.rate = Some(1000.0);
            config.window = OPEN_WINDOW;
        })
        .await;
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.sent, report.answered), (50, 50), "{report}");
    }
}

#[tokio::test]
async fn an_open_loop_sends_every_event_that_has_its_turn() {
    let server = honest().await;
    let report = load(&server, |config| {
        config.limit = Limit::Duration(Duration::from_millis(100));
        config.warmup = Duration::from_millis(50);
        config.rate = Some(1000.0);
        config.window = OPEN_WINDOW;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.sent, report.answered), (150, 150), "{report}");
    let open_loop = report.open_loop.unwrap();
    assert_eq!((open_loop.rate, open_loop.held, open_loop.unsent), (1000.0, 0, 0), "{report}");
    assert!(open_loop.max_lateness_us >= open_loop.mean_lateness_us && open_loop.mean_lateness_us > 0.0, "{report}");
    assert!(report.latency.max_us >= open_loop.max_lateness_us, "lateness is part of latency: {report}");

    // Over the session, whose server grants no credit of its own here.
    let report = load(&server, |config| {
        over_v1(config);
        config.rate = Some(10_000.0);
    })
    .await;
    assert!(report.is_clean() && report.answered == 300, "{report}");
}

#[tokio::test]
async fn an_open_loop_counts_the_wait_of_those_behind_a_stall() {
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = serve(move |request, out| {
        let mut held = held.lock().unwrap();
        held.push(right(&request));
        // 20 to 39 are answered when 40 has come, which is 20 ms after the turn of 20.
        if !(20..40).contains(&request.client_sequence) {
            out.append(&mut held);
        }
        Ok(())
    })
    .await;
    let report = load(&server, |config| {
        config.streams = 1;
        config.limit = Limit::Events(100);
        config.rate = Some(1000.0);
        config.window = OPEN_WINDOW;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert!(report.latency.max_us >= 20_000.0 && report.latency.p90_us >= 10_000.0, "{report}");
}

#[tokio::test]
async fn an_open_loop_counts_what_a_shut_window_never_let_go() {
    let interrupted = CancellationToken::new();
    let server = serve({
        let interrupted = interrupted.clone();
        move |request, out| {
            match request.client_sequence {
                ..=10 => out.push(right(&request)),
                // The last that the window lets go. Those after it had their turns long ago.
                14 => interrupted.cancel(),
                _ => {}
            }
            Ok(())
        }
    })
    .await;
    let config = LoadConfig {
        window: 4,
        limit: Limit::Duration(Duration::from_secs(3600)),
        warmup: Duration::ZERO,
        rate: Some(1e6),
        drain_timeout: Duration::from_secs(2),
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    let result = run_until(&config, interrupted, |_| {}).await.unwrap();
    let report = result.report;
    assert_eq!((report.sent, report.answered, report.lost), (14, 10, 4), "{report}");
    let unsent = report.open_loop.unwrap().unsent;
    assert!(unsent > 0 && report.to_string().contains(&format!("never sent {unsent}")), "{report}");
    assert_eq!(result.latencies.histogram().unwrap().len(), 10 + unsent, "each counts: {report}");
    // A turn each microsecond: so long the first of them has waited.
    assert!(report.latency.max_us >= (unsent - 1) as f64, "{report}");
}

#[tokio::test]
async fn a_stream_with_nothing_to_say_is_not_given_up() {
    let server = honest().await;
    let report = load(&server, |config| {
        config.streams = 1;
        config.limit = Limit::Events(3);
        config.rate = Some(0.45);
        config.drain_timeout = Duration::from_secs(2);
    })
    .await;
    assert!(report.is_clean() && report.answered == 3, "its turns are further apart than the timeout: {report}");
}

#[tokio::test]
async fn the_v1_session_is_spoken_in_full() {
    let server = honest().await;
    let report = load(&server, |config| {
        over_v1(config);
        config.payload_bytes = 64;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.answered, report.rejected), (300, 30), "{report}");
}

#[tokio::test]
async fn an_interruption_ends_the_load_and_is_told_in_the_report() {
    let interrupted = CancellationToken::new();
    let server = serve({
        let interrupted = interrupted.clone();
        move |request, out| {
            if request.client_sequence == 50 {
                interrupted.cancel();
            }
            out.push(right(&request));
            Ok(())
        }
    })
    .await;
    let hour = Limit::Duration(Duration::from_secs(3600));
    let config = LoadConfig {
        limit: hour,
        warmup: Duration::ZERO,
        window: 8,
        ..LoadConfig::new(server.address.to_string(), Protocol::Original)
    };
    let report = run_until(&config, interrupted.clone(), |_| {}).await.unwrap().report;
    assert!(report.interrupted && report.is_clean(), "{report}");
    assert!(report.answered >= 50 && report.sent == report.answered && report.seconds < 3600.0, "{report}");
    assert!(report.to_string().starts_with("interrupted"), "{report}");

    // Before it has begun.
    let report = run_until(&config, interrupted, |_| {}).await.unwrap().report;
    assert!(report.interrupted, "{report}");
}
