//! A report as rows: what was measured, and how much it was.

use nimbus_loadtest::{LoadReport, Protocol};

use super::units::{count, micros};

#[allow(clippy::cast_precision_loss)]
pub(super) fn rows(report: &LoadReport) -> Vec<[String; 2]> {
    let LoadReport { streams, connections, window, seconds, latency, .. } = report;
    let protocol = match report.protocol {
        Protocol::V1 => "v1",
        Protocol::Original => "original protocol",
    };
    let mut rows = Vec::new();
    let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
    if report.interrupted {
        row("interrupted", "this is what there was by then".to_owned());
    }
    let outstanding = if report.open_loop.is_some() { "at most " } else { "" };
    row("load", format!("{streams} streams x {outstanding}{window} over {connections} connections, {protocol}"));
    row("measured", format!("{seconds:.1} s"));
    row("throughput", format!("{} events/s", count(report.events_per_second)));
    for (name, value) in [
        ("p50", latency.p50_us),
        ("p90", latency.p90_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p999_us),
        ("max", latency.max_us),
    ] {
        row(&format!("latency {name}"), micros(value));
    }
    if let Some(open_loop) = &report.open_loop {
        row("rate", format!("{} events/s", count(open_loop.rate)));
        let what = if report.reconnects > 0 { "the server or a reconnect" } else { "the server" };
        row(
            "held",
            format!(
                "{} waited for {what}, {} of them to the end",
                count((open_loop.held + open_loop.unsent) as f64),
                count(open_loop.unsent as f64)
            ),
        );
        row("late", format!("{} by this process or the transport", count(open_loop.late as f64)));
        row(
            "lateness",
            format!("{} on average, at most {}", micros(open_loop.mean_lateness_us), micros(open_loop.max_lateness_us)),
        );
    }
    row("answered", format!("{} of {} sent", count(report.answered as f64), count(report.sent as f64)));
    for (what, number) in [
        ("lost", report.lost),
        ("duplicates", report.duplicates),
        ("out of order", report.out_of_order),
        ("wrong", report.wrong),
        ("failed", report.failed),
        ("rejected", report.rejected),
    ] {
        row(what, count(number as f64));
    }
    if report.idle > 0 {
        row("idle", format!("{} streams beside these", count(report.idle as f64)));
    }
    if report.slow_readers > 0 {
        row("slow readers", format!("{} of the streams, not measured", count(report.slow_readers as f64)));
    }
    if report.reconnects > 0 {
        let longest = micros(report.longest_reconnect_us);
        row("reconnects", format!("{}, the longest took {longest}", count(report.reconnects as f64)));
    }
    for (error, times) in &report.errors {
        row("error", format!("{times} x {error}"));
    }
    for server in &report.cost.servers {
        row("server", server.to_string());
    }
    for machine in &report.cost.machines {
        row("machine", machine.to_string());
    }
    rows
}

#[cfg(test)]
mod tests {
    use nimbus_loadtest::{Cost, Machine, OpenLoop};

    use super::*;

    fn value<'a>(rows: &'a [[String; 2]], what: &str) -> &'a str {
        rows.iter().find(|row| row[0] == what).map_or("", |row| &row[1])
    }

    #[test]
    fn a_report_has_a_row_for_each_thing() {
        let mut report = LoadReport { streams: 2, window: 8, connections: 1, lost: 1_234, ..LoadReport::default() };
        report.latency.p99_us = 1_500.0;
        let plain = rows(&report);
        assert_eq!(value(&plain, "load"), "2 streams x 8 over 1 connections, v1");
        assert_eq!((value(&plain, "latency p99"), value(&plain, "lost")), ("1.50 ms", "1,234"));
        assert_eq!((value(&plain, "held"), value(&plain, "machine")), ("", ""));
        assert_eq!(["idle", "slow readers", "reconnects"].map(|what| value(&plain, what)), [""; 3]);

        report.open_loop = Some(OpenLoop { held: 3, unsent: 2, ..OpenLoop::default() });
        (report.idle, report.slow_readers, report.reconnects) = (1_000, 2, 3);
        report.longest_reconnect_us = 1_500.0;
        report.errors.insert("Unavailable: gone".to_owned(), 2);
        let machine = Machine {
            host: "a".to_owned(),
            cores: 2,
            load_cores: 1.9,
            load_cpu_seconds: 19.0,
            busy: 1.0,
            seconds: 10.0,
        };
        report.cost = Cost { machines: vec![machine], servers: Vec::new() };
        let open = rows(&report);
        assert_eq!(value(&open, "held"), "5 waited for the server or a reconnect, 2 of them to the end");
        assert_eq!(value(&open, "idle"), "1,000 streams beside these");
        assert_eq!(value(&open, "slow readers"), "2 of the streams, not measured");
        assert_eq!(value(&open, "reconnects"), "3, the longest took 1.50 ms");
        assert_eq!(value(&open, "error"), "2 x Unavailable: gone");
        assert!(value(&open, "machine").starts_with("this machine is the limit"), "{open:?}");
    }
}
