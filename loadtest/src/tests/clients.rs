//! Clients that reconnect, read slowly, think, send several kinds of events, or are only there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    load, over_v1,
    servers::{honest, right, serve},
};
use crate::{Destination, Latency, Limit, LoadConfig, Protocol, Weighted, idle::IdleStreams};

#[tokio::test]
async fn idle_streams_stay_open_until_dropped() {
    let server = honest().await;
    for protocol in [Protocol::V1, Protocol::Original] {
        let mut idle =
            IdleStreams::open(&Destination::new(server.address.to_string()), protocol, 5, "idle", None).await.unwrap();
        assert_eq!(idle.ended(), [] as [String; 0]);
        drop(idle);
    }
}

#[tokio::test]
async fn idle_streams_are_beside_the_load() {
    let server = honest().await;
    let report = load(&server, |config| {
        over_v1(config);
        config.idle = 4;
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.idle, report.streams, report.answered), (4, 3, 300), "{report}");
}

/// A load of `echo` over v1 that lasts long enough for some reconnects.
fn churning(config: &mut LoadConfig) {
    over_v1(config);
    config.rate = Some(1000.0);
    config.churn = 100.0;
    config.drain_timeout = Duration::from_secs(5);
}

#[tokio::test]
async fn streams_reconnect_and_nothing_is_lost_or_repeated() {
    let server = honest().await;
    for connections in [1, 3] {
        let report = load(&server, |config| {
            churning(config);
            config.connections = connections;
        })
        .await;
        assert!(report.is_clean(), "{report}");
        assert!(report.answered == 300 && report.reconnects > 1 && report.longest_reconnect_us > 0.0, "{report}");
    }
}

#[tokio::test]
async fn a_stream_that_is_told_faster_than_it_can_reconnect_still_sends() {
    let server = honest().await;
    for rate in [None, Some(1000.0)] {
        let report = load(&server, |config| {
            churning(config);
            config.rate = rate;
            config.churn = 10_000.0;
        })
        .await;
        assert!(report.is_clean() && report.answered == 300 && report.reconnects > 1, "{report}");
    }
}

#[tokio::test]
async fn what_comes_twice_across_a_reconnect_is_counted() {
    let server = honest().await;
    let report = load(&server, |config| {
        churning(config);
        config.client_id_prefix = "forgetful".to_owned();
    })
    .await;
    assert!(report.duplicates > 0 && report.lost == 0 && report.errors.is_empty(), "{report}");
}

#[tokio::test]
async fn slow_readers_get_every_answer_and_are_not_measured() {
    let server = honest().await;
    let report = load(&server, |config| {
        over_v1(config);
        config.slow_readers = 3;
        config.slow_pause = Duration::from_millis(1);
        config.limit = Limit::Events(60);
    })
    .await;
    assert!(report.is_clean() && report.answered == 60, "{report}");
    assert_eq!(report.latency, Latency::default(), "{report}");
}

#[tokio::test]
async fn a_stream_thinks_between_an_answer_and_the_next_event() {
    let server = honest().await;
    let report = load(&server, |config| {
        config.window = 1;
        config.streams = 1;
        config.limit = Limit::Events(5);
        config.think = Duration::from_millis(20);
    })
    .await;
    assert!(report.is_clean() && report.answered == 5, "{report}");
    assert!(report.seconds >= 0.08, "four times 20 ms at least: {report}");
}

#[tokio::test]
async fn several_kinds_of_events_are_each_judged_by_their_own_answers() {
    let names = Arc::new(std::sync::Mutex::new(HashMap::new()));
    let server = serve({
        let names = Arc::clone(&names);
        move |request, out| {
            *names.lock().unwrap().entry(request.event_name.clone()).or_insert(0) += 1;
            let mut answer = right(&request);
            if request.event_name != "sq" {
                answer.result = 0;
            }
            out.push(answer);
            Ok(())
        }
    })
    .await;
    let weighted = |name: &str, weight| Weighted { name: name.to_owned(), weight };
    let report = load(&server, |config| config.mix = vec![weighted("sq", 2), weighted("other", 1)]).await;
    assert!(report.is_clean(), "{report}");
    let names = names.lock().unwrap();
    let (squares, others) = (names[&b"sq"[..]], names[&b"other"[..]]);
    assert!(squares > others && others > 50, "{names:?}");
}
