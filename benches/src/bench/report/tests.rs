//! A missed target is told, whichever it is.

use nimbus_loadtest::{Latency, Protocol};

use super::{
    super::{Shape, beyond::Beyond, kafka::KafkaBytes, redis::RedisCost},
    *,
};

fn measured(round: usize, kind: Kind, shape: Shape, events_per_second: f64, p50_us: f64) -> Vec<Measured> {
    PROTOCOLS
        .into_iter()
        .map(|protocol| Measured {
            round,
            kind,
            cpu: Vec::new(),
            report: LoadReport {
                protocol,
                streams: shape.streams,
                connections: 1,
                window: shape.window,
                seconds: 1.0,
                sent: 1,
                answered: 1,
                events_per_second,
                latency: Latency { p50_us, ..Latency::default() },
                ..LoadReport::default()
            },
        })
        .collect()
}

/// Three rounds. `crowd` and `alone` are what Nimbus has of the other's throughput and latency.
fn rounds(setting: Setting, alone_us: f64, crowd: f64, alone: f64) -> Vec<Measured> {
    let (limit, nimbus) = (setting.limit(), setting.nimbus());
    let all = (0..3).flat_map(|round| {
        // The machine is twice as fast in every other round; the ratios do not notice.
        let speed = if round == 1 { 2.0 } else { 1.0 };
        [
            measured(round, limit, CROWD, 1000.0 * speed, 5.0),
            measured(round, nimbus, CROWD, 1000.0 * speed * crowd, 5.0),
            measured(round, limit, MANY, 1000.0 * speed, 5.0),
            measured(round, nimbus, MANY, 1000.0 * speed * crowd, 5.0),
            measured(round, limit, ALONE, 10.0, alone_us / speed),
            measured(round, nimbus, ALONE, 10.0, alone_us / speed * alone),
        ]
    });
    all.flatten().collect()
}

/// Three rounds beyond the shapes: p99.9 in microseconds, where a median is 100 and the limit's p99.9 is 150, and how much of the
/// rate ten times the clients reach.
fn beyond(setting: Setting, tail: f64, ten_times: f64) -> Vec<beyond_loads::Measured> {
    let of = move |round, kind, what| {
        let latency = Latency {
            p50_us: 100.0,
            p999_us: if kind == setting.nimbus() { tail } else { 150.0 },
            ..Latency::default()
        };
        let part = if what == Beyond::TenTimesTheClients { ten_times } else { 1.0 };
        let report = LoadReport { events_per_second: 1000.0 * part, latency, ..LoadReport::default() };
        beyond_loads::Measured { round, setting, kind, what, report }
    };
    let of_round = |round| {
        [setting.limit(), setting.nimbus()].into_iter().flat_map(move |kind| {
            Beyond::all().filter(move |what| what.is_for(kind)).map(move |what| of(round, kind, what))
        })
    };
    (0..3).flat_map(of_round).collect()
}

fn report_with(measured: Vec<Measured>, beyond: Vec<beyond_loads::Measured>, distributed: Distributed) -> Report {
    Report::new(1.0, 200.0, measured, beyond, Vec::new(), distributed)
}

fn report(crowd: f64, alone: f64) -> Report {
    let measured = rounds(Setting::Embedded, 100.0, crowd, alone);
    report_with(measured, beyond(Setting::Embedded, 500.0, 0.9), Distributed::NotWanted)
}

fn costs(us_per_result: f64, results_per_batch: f64) -> Vec<RedisCost> {
    let of_round = |round| {
        PROTOCOLS.map(|protocol| RedisCost {
            round,
            protocol,
            answered: 1000,
            redis_cpu_us: 1000.0 * us_per_result,
            records: 1000.0,
            batches: 1000.0 / results_per_batch,
        })
    };
    (0..3).flat_map(of_round).collect()
}

fn distributed(crowd: f64, alone: f64, costs: Vec<RedisCost>) -> Report {
    let mut all = rounds(Setting::Embedded, 100.0, 1.0, 1.0);
    all.extend(rounds(Setting::Distributed, 1000.0, crowd, alone));
    let mut further = beyond(Setting::Embedded, 500.0, 0.9);
    further.extend(beyond(Setting::Distributed, 600.0, 0.9));
    report_with(all, further, Distributed::Measured(Costs { redis: costs, kafka: stored(188) }))
}

fn stored(bytes_per_event: u64) -> Vec<KafkaBytes> {
    vec![KafkaBytes { round: 0, payload_bytes: 64, answered: 10, bytes: 10 * bytes_per_event }]
}

#[test]
fn a_missed_target_is_told() {
    assert!(report(0.46, 1.2).meets_every_target());
    assert!(!report(0.44, 1.2).meets_every_target());
    assert!(!report(0.46, 1.4).meets_every_target());
    let text = report(0.44, 1.2).to_string();
    // Both crowds of both protocols.
    assert_eq!(text.matches("MISSED").count(), 4, "{text}");
    assert!(text.contains("| V1 | 16 x 64 | throughput | 1000 events/s (1000 to 2000) |"), "{text}");
}

#[test]
fn a_heavy_idle_stream_is_told() {
    let mut report = report(1.0, 1.0);
    let idle = |kind, tls, kib_per_stream| IdleStream {
        kind,
        tls,
        protocol: Protocol::V1,
        streams: 1,
        kib_per_stream,
        cores: None,
    };
    let light = [idle(Kind::Baseline, false, 99.0), idle(Kind::Nimbus, false, 24.9), idle(Kind::Nimbus, true, 44.9)];
    report.idle = light.to_vec();
    assert!(report.meets_every_target());
    report.idle.push(idle(Kind::Nimbus, false, 25.1));
    assert!(!report.meets_every_target());
    report.idle = light.to_vec();
    report.idle.push(idle(Kind::Nimbus, true, 45.1));
    assert!(!report.meets_every_target());
}

#[test]
fn idle_streams_that_keep_a_core_busy_are_told() {
    let mut report = report(1.0, 1.0);
    let idle = |tls, cores| IdleStream {
        kind: Kind::Nimbus,
        tls,
        protocol: Protocol::V1,
        streams: 1,
        kib_per_stream: 1.0,
        cores: Some(cores),
    };
    report.idle = vec![idle(false, 0.0099), idle(true, 0.5)];
    assert!(report.meets_every_target());
    report.idle = vec![idle(false, 0.0101)];
    assert!(!report.meets_every_target());
    assert!(report.to_string().contains("| 0.0101 | at most 0.01 | MISSED |"), "{report}");
}

#[test]
fn a_long_tail_and_a_rate_that_many_clients_do_not_reach_are_told() {
    let with = |tail, ten_times| {
        let measured = rounds(Setting::Embedded, 100.0, 1.0, 1.0);
        report_with(measured, beyond(Setting::Embedded, tail, ten_times), Distributed::NotWanted)
    };
    assert!(with(500.0, 0.9).meets_every_target());
    assert!(!with(501.0, 0.9).meets_every_target());
    assert!(!with(500.0, 0.89).meets_every_target());
    let text = with(501.0, 0.89).to_string();
    assert!(text.contains("| 5.01 (5.01 to 5.01) | p99.9 / p50 of Nimbus | at most 5.00 | MISSED |"), "{text}");
    assert_eq!(text.matches("MISSED").count(), 2, "{text}");
}

#[test]
fn what_is_around_a_payload_in_kafka_is_judged() {
    let mut report = distributed(1.0, 1.0, costs(5.0, 64.0));
    assert!(report.meets_every_target());
    report.kafka = vec![KafkaRow::of(&stored(189))];
    assert!(!report.meets_every_target());
    assert!(report.to_string().contains("| 64 | 189 (189 to 189) | at most 188 | MISSED |"), "{report}");
    report.kafka = vec![KafkaRow::of(&[])];
    assert!(!report.meets_every_target());
}

#[test]
fn who_spends_what_is_told_by_role() {
    let mut all = rounds(Setting::Embedded, 100.0, 1.0, 1.0);
    for one in all.iter_mut().filter(|one| one.kind == Kind::Nimbus && one.report.window == CROWD.window) {
        one.cpu = vec![RoleCpu { role: "server".to_owned(), us_per_event: 1.5 }];
    }
    let text = report_with(all, Vec::new(), Distributed::NotWanted).to_string();
    assert!(text.contains("| Nimbus | 16 x 64 | server 1.5 (1.5 to 1.5) |"), "{text}");
}

#[test]
fn a_missing_round_is_no_met_target() {
    let only_nimbus = measured(0, Kind::Nimbus, CROWD, 1.0, 1.0);
    let further = || beyond(Setting::Embedded, 500.0, 0.9);
    assert!(!report_with(only_nimbus, further(), Distributed::NotWanted).meets_every_target());
    let only_embedded = rounds(Setting::Embedded, 100.0, 1.0, 1.0);
    let costs = Distributed::Measured(Costs { redis: costs(1.0, 64.0), kafka: stored(1) });
    assert!(!report_with(only_embedded, further(), costs).meets_every_target());
    assert!(!distributed(1.0, 1.0, Vec::new()).meets_every_target());
}

#[test]
fn what_is_distributed_is_compared_with_the_glue() {
    assert!(distributed(0.61, 1.2, costs(5.0, 64.0)).meets_every_target());
    assert!(!distributed(0.59, 1.2, costs(5.0, 64.0)).meets_every_target());
    let slow = distributed(0.61, 1.3, costs(5.0, 64.0));
    assert!(!slow.meets_every_target());
    let text = slow.to_string();
    assert_eq!(text.matches("MISSED").count(), 2, "{text}");
    assert!(text.contains("| glue | Nimbus, distributed | Nimbus / glue | target |"), "{text}");
    assert!(text.contains("| at most 1.25 | MISSED |"), "{text}");
    let json = serde_json::to_value(&slow).unwrap();
    assert_eq!(json["comparisons"][21]["target"]["ratio_at_most"], 1.25, "{json}");
    assert_eq!(json["comparisons"][21]["setting"], "distributed");
}

#[test]
fn what_a_result_costs_redis_is_judged_in_large_batches_only() {
    assert!(distributed(1.0, 1.0, costs(5.0, 64.0)).meets_every_target());
    let dear = distributed(1.0, 1.0, costs(5.1, 64.0));
    assert!(!dear.meets_every_target());
    assert!(dear.to_string().contains("| V1 | 5.10 us (5.10 to 5.10) | 64 (64 to 64) |"), "{dear}");
    let small = distributed(1.0, 1.0, costs(17.0, 3.0));
    assert!(small.meets_every_target());
    assert_eq!(small.to_string().matches("not judged").count(), 2, "{small}");
    assert_eq!(serde_json::to_value(&small).unwrap()["redis"][0]["verdict"], "not_judged");
    // One round with large batches is enough to be judged by.
    let mut mixed = costs(17.0, 3.0);
    mixed.extend(costs(7.0, 100.0));
    assert!(!distributed(1.0, 1.0, mixed).meets_every_target());
}

#[test]
fn what_could_not_be_measured_is_no_met_target_and_said_aloud() {
    let all = rounds(Setting::Embedded, 100.0, 1.0, 1.0);
    let further = beyond(Setting::Embedded, 500.0, 0.9);
    let report = report_with(all, further, Distributed::NotMeasured("java is missing".to_owned()));
    assert!(!report.meets_every_target());
    assert!(report.to_string().contains("THE DISTRIBUTED PART IS NOT MEASURED: java is missing"), "{report}");
}
