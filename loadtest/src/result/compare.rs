//! Two results beside each other.

use super::LoadResult;

/// One thing of two results.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// What it is.
    pub what: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// In the first result.
    pub a: f64,
    /// In the second.
    pub b: f64,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events per second.
    PerSecond,
    /// Microseconds.
    Micros,
    /// Mebibytes.
    Mib,
    /// Cores.
    Cores,
    /// A number of something.
    Count,
}

impl Compared {
    /// The second divided by the first; nothing where that is 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.a != 0.0).then(|| self.b / self.a)
    }
}

/// Throughput, percentiles, what came out wrong, and what it cost; what only some loads have, where both results have it.
pub fn compare(a: &LoadResult, b: &LoadResult) -> Vec<Compared> {
    let mut all = Vec::new();
    let mut add = |what, unit, of: &dyn Fn(&LoadResult) -> f64| all.push(Compared { what, unit, a: of(a), b: of(b) });
    add("throughput", Unit::PerSecond, &|result| result.report.events_per_second);
    add("latency p50", Unit::Micros, &|result| result.report.latency.p50_us);
    add("latency p90", Unit::Micros, &|result| result.report.latency.p90_us);
    add("latency p99", Unit::Micros, &|result| result.report.latency.p99_us);
    add("latency p99.9", Unit::Micros, &|result| result.report.latency.p999_us);
    add("latency max", Unit::Micros, &|result| result.report.latency.max_us);
    add("lost, repeated, reordered, wrong, failed", Unit::Count, &errors);
    if [a, b].iter().all(|result| result.report.open_loop.is_some()) {
        let waited =
            |result: &LoadResult| result.report.open_loop.map_or(0, |open_loop| open_loop.held + open_loop.unsent);
        let late = |result: &LoadResult| result.report.open_loop.map_or(0, |open_loop| open_loop.late);
        add("held by the server", Unit::Count, &|result| whole(waited(result)));
        add("late by the load process", Unit::Count, &|result| whole(late(result)));
    }
    if [a, b].iter().all(|result| result.report.reconnects > 0) {
        add("reconnects", Unit::Count, &|result| whole(result.report.reconnects));
        add("longest reconnect", Unit::Micros, &|result| result.report.longest_reconnect_us);
    }
    if [a, b].iter().all(|result| !result.report.cost.servers.is_empty()) {
        add("CPU of servers an event", Unit::Micros, &|result| {
            result.report.cost.servers.iter().map(|server| server.cpu_us_per_event).sum()
        });
        add("CPU of servers", Unit::Cores, &|result| {
            result.report.cost.servers.iter().map(|server| server.cores).sum()
        });
        add("memory of servers", Unit::Mib, &|result| {
            result.report.cost.servers.iter().map(|server| server.rss_max_mib).sum()
        });
    }
    add("CPU of the load", Unit::Cores, &|result| {
        result.report.cost.machines.iter().map(|machine| machine.load_cores).sum()
    });
    all
}

fn errors(result: &LoadResult) -> f64 {
    let report = &result.report;
    whole(report.lost + report.duplicates + report.out_of_order + report.wrong + report.failed)
}

#[allow(clippy::cast_precision_loss)]
const fn whole(count: u64) -> f64 {
    count as f64
}
