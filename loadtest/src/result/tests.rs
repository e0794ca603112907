//! Results that are read, merged, compared and drawn.

use super::*;
use crate::{Cost, Machine, OpenLoop, Protocol, ServerCost};

/// Ten seconds from second 100 on: so many answers a second, of this latency each.
fn result(from_second: u64, answers: u64, micros: u64) -> LoadResult {
    let second = |_| {
        let mut interval = Measured::new();
        interval.counts.measured = answers;
        (0..answers).for_each(|_| interval.latency(micros * 1000));
        interval
    };
    let seconds: Vec<Measured> = (0..10).map(second).collect();
    let mut all = Measured::new();
    seconds.iter().for_each(|one| all.add(one));
    let (time, one_second) = (Duration::from_secs(from_second), Duration::from_secs(1));
    let samples = (0..).zip(&seconds).map(|(number, one)| Sample::new(time + one_second * number, one_second, one));
    let machine =
        Machine { host: "a".to_owned(), cores: 2, load_cores: 0.5, load_cpu_seconds: 5.0, busy: 0.7, seconds: 10.0 };
    let server = ServerCost {
        host: "a".to_owned(),
        pid: 42,
        cpu_seconds: 8.0,
        cores: 0.8,
        cpu_us_per_event: 8e5 / answers as f64,
        rss_before_mib: 10.0,
        rss_max_mib: 12.0,
        ..ServerCost::default()
    };
    LoadResult {
        schema: SCHEMA.to_owned(),
        measured_from_unix_ms: from_second * 1000,
        loads: vec![LoadConfig::new("http://<gateway>:1", Protocol::V1)],
        report: LoadReport {
            streams: 4,
            connections: 2,
            window: 8,
            seconds: 10.0,
            sent: answers * 10,
            answered: answers * 10,
            measured: answers * 10,
            events_per_second: answers as f64,
            latency: meter::latency(&all.latencies).unwrap(),
            open_loop: Some(OpenLoop { rate: 7.0, free: 10, mean_lateness_us: micros as f64, ..OpenLoop::default() }),
            idle: 4,
            slow_readers: 1,
            reconnects: 3,
            longest_reconnect_us: micros as f64,
            errors: [("gone".to_owned(), 1)].into(),
            cost: Cost { machines: vec![machine], servers: vec![server] },
            ..LoadReport::default()
        },
        latencies: Latencies::of(&all.latencies),
        samples: samples.collect(),
    }
}

#[test]
fn a_result_is_read_as_it_was_written() {
    let mut written = result(100, 50, 1_000);
    written.loads[0].token = Some("secret".to_owned());
    let text = written.to_json();
    assert!(!text.contains("secret"));
    let read = LoadResult::from_json(&text).unwrap();
    written.loads[0].token = None;
    assert_eq!(read.report, written.report);
    assert_eq!((read.samples, read.latencies), (written.samples, written.latencies));

    let other = text.replace(SCHEMA, "nimbus-load/2");
    for (damaged, why) in [(other.as_str(), "nimbus-load/2"), ("{}", "schema"), ("[", "EOF"), (&text[..200], "EOF")] {
        let error = LoadResult::from_json(damaged).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn results_of_one_run_become_one() {
    let merged = merge(&[result(100, 50, 1_000), result(105, 150, 3_000)]).unwrap();
    let report = &merged.report;
    assert_eq!((report.streams, report.connections, report.window), (8, 4, 8));
    assert_eq!((report.answered, report.measured, report.errors["gone"]), (2000, 2000, 2));
    // From second 100 to 115.
    assert_eq!((report.seconds, merged.measured_from_unix_ms, merged.loads.len()), (15.0, 100_000, 2));
    assert!((report.events_per_second - 2000.0 / 15.0).abs() < 1e-9, "{report}");
    assert!((report.latency.p50_us - 3_000.0).abs() < 3.0, "three of four are slow: {report}");
    let open_loop = report.open_loop.unwrap();
    assert_eq!((open_loop.rate, open_loop.mean_lateness_us), (14.0, 2_000.0));

    assert_eq!((report.idle, report.slow_readers), (8, 2));
    assert_eq!((report.reconnects, report.longest_reconnect_us), (6, 3_000.0));

    let rates: Vec<_> = merged.samples.iter().map(|sample| (sample.unix_second, sample.events_per_second)).collect();
    assert_eq!(rates.len(), 15);
    assert_eq!((rates[0], rates[7], rates[14]), ((100, 50.0), (107, 200.0), (114, 150.0)));
    let p50 = |second: usize| merged.samples[second].latency.unwrap().p50_us;
    assert!((p50(0) - 1_000.0).abs() < 1.0 && (p50(7) - 3_000.0).abs() < 3.0);

    // On one machine, with one server.
    let Cost { machines, servers } = &report.cost;
    assert_eq!((machines.len(), servers.len()), (1, 1));
    assert_eq!((machines[0].load_cores, servers[0].cpu_seconds), (1.0, 8.0));
    assert_eq!((servers[0].cpu_us_per_event, servers[0].rss_kib_per_stream), (4_000.0, 128.0));
}

#[test]
fn what_is_not_one_run_is_not_merged() {
    let refused = |results: &[LoadResult]| merge(results).unwrap_err().to_string();
    assert!(refused(&[]).contains("nothing"));
    assert!(refused(&[result(100, 1, 1), result(110, 1, 1)]).contains("at the same time"));
    let mut original = result(100, 1, 1);
    original.report.protocol = Protocol::Original;
    assert!(refused(&[result(100, 1, 1), original]).contains("protocols"));
}

#[test]
fn two_results_are_compared_by_their_ratios() {
    let (a, mut b) = (result(100, 50, 1_000), result(900, 100, 500));
    let compared = compare(&a, &b);
    let ratio = |what: &str| compared.iter().find(|one| one.what == what).and_then(Compared::ratio);
    assert_eq!(ratio("throughput"), Some(2.0));
    assert!(ratio("latency p99").is_some_and(|ratio| (ratio - 0.5).abs() < 0.01), "{compared:?}");
    assert_eq!((ratio("CPU of servers an event"), ratio("CPU of the load")), (Some(0.5), Some(1.0)));
    assert_eq!((ratio("reconnects"), ratio("longest reconnect")), (Some(1.0), Some(0.5)));
    assert_eq!(ratio("lost, repeated, reordered, wrong, failed"), None, "0 of 0");
    b.report.cost.servers.clear();
    b.report.reconnects = 0;
    let left = compare(&a, &b);
    assert!(left.iter().all(|one| !one.what.contains("servers") && !one.what.contains("reconnect")), "{left:?}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_takes_no_text_for_markup() {
    let page = page(&result(100, 50, 1_000)).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    for elsewhere in ["http", "src=", "href", "url(", "@import", "<script", "<gateway>"] {
        assert!(!page.contains(elsewhere), "{elsewhere} in {page}");
    }
    assert!(page.contains("Load on &lt;gateway&gt;:1") && page.contains("99.9 %"), "{page}");
    // Nothing came back: empty pictures, and no number that is none.
    let mut nothing = result(100, 1, 1);
    nothing.samples.clear();
    nothing.latencies = Latencies::of(&Measured::new().latencies);
    let page = super::page(&nothing).unwrap();
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}
