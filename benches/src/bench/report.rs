//! What came out: ratios of the same round, their median and their spread.

use std::fmt;

use nimbus_loadtest::{LoadReport, Protocol};
use serde::{Deserialize, Serialize};

use super::{ALONE, CROWD, Shape, memory::IdleStream, process::Kind};

/// Throughput of the crowd, as a part of the baseline's.
const THROUGHPUT_AT_LEAST: f64 = 0.30;
/// Median latency of one alone, as a multiple of the baseline's.
const LATENCY_AT_MOST: f64 = 2.5;
/// Memory of an idle stream, in KiB.
const IDLE_AT_MOST_KIB: f64 = 36.0;

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) round: usize,
    pub(super) kind: Kind,
    pub(super) report: LoadReport,
}

/// Several measurements of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Nimbus and the baseline at one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Comparison {
    protocol: Protocol,
    streams: usize,
    window: usize,
    /// `throughput` in events per second, or `p50` in microseconds.
    what: String,
    baseline: Spread,
    nimbus: Spread,
    /// Nimbus divided by the baseline, of each round.
    ratio: Spread,
    /// Nothing: for information only.
    target: Option<f64>,
    met: bool,
}

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    cores: usize,
    seconds_per_measurement: f64,
    fdatasync_p50_us: f64,
    comparisons: Vec<Comparison>,
    idle: Vec<IdleStream>,
    idle_target_kib: f64,
    /// Everything that was measured.
    measured: Vec<Measured>,
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.is_empty() {
        f64::NAN
    } else if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { median: median(values), min, max }
    }
}

impl Report {
    pub(super) fn new(seconds: f64, fdatasync: f64, measured: Vec<Measured>, idle: Vec<IdleStream>) -> Self {
        let mut comparisons = Vec::new();
        for protocol in super::PROTOCOLS {
            let throughput = |report: &LoadReport| report.events_per_second;
            let p50 = |report: &LoadReport| report.latency.p50_us;
            comparisons.push(compare(
                &measured,
                protocol,
                CROWD,
                "throughput",
                throughput,
                Some(THROUGHPUT_AT_LEAST),
                true,
            ));
            comparisons.push(compare(&measured, protocol, CROWD, "p50", p50, None, false));
            comparisons.push(compare(&measured, protocol, ALONE, "p50", p50, Some(LATENCY_AT_MOST), false));
        }
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            seconds_per_measurement: seconds,
            fdatasync_p50_us: fdatasync,
            comparisons,
            idle,
            idle_target_kib: IDLE_AT_MOST_KIB,
            measured,
        }
    }

    pub(super) fn meets_every_target(&self) -> bool {
        let idle = self.idle.iter().filter(|idle| idle.kind == Kind::Nimbus);
        self.comparisons.iter().all(|comparison| comparison.met)
            && idle.into_iter().all(|idle| idle.kib_per_stream <= IDLE_AT_MOST_KIB)
    }
}

/// Compares the rounds in which both were measured.
fn compare(
    measured: &[Measured],
    protocol: Protocol,
    shape: Shape,
    what: &str,
    value: impl Fn(&LoadReport) -> f64,
    target: Option<f64>,
    more_is_better: bool,
) -> Comparison {
    let of = |kind: Kind| -> Vec<(usize, f64)> {
        measured
            .iter()
            .filter(|one| {
                let report = &one.report;
                one.kind == kind
                    && report.protocol == protocol
                    && (report.streams, report.window) == (shape.streams, shape.window)
            })
            .map(|one| (one.round, value(&one.report)))
            .collect()
    };
    let (baseline, nimbus) = (of(Kind::Baseline), of(Kind::Nimbus));
    let ratios: Vec<f64> = nimbus
        .iter()
        .filter_map(|(round, ours)| {
            let theirs = baseline.iter().find(|(other, _)| other == round)?.1;
            Some(ours / theirs)
        })
        .collect();
    let values = |pairs: &[(usize, f64)]| pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    let ratio = Spread::of(&ratios);
    Comparison {
        protocol,
        streams: shape.streams,
        window: shape.window,
        what: what.to_owned(),
        baseline: Spread::of(&values(&baseline)),
        nimbus: Spread::of(&values(&nimbus)),
        met: target.is_none_or(|target| if more_is_better { ratio.median >= target } else { ratio.median <= target }),
        ratio,
        target,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} cores for server and client together, {} s a measurement, one fdatasync of 4 KiB: p50 {:.0} us.",
            self.cores, self.seconds_per_measurement, self.fdatasync_p50_us
        )?;
        writeln!(f, "Median (min to max) over the rounds; ratios are of the same round.\n")?;
        writeln!(f, "| protocol | streams x window | what | baseline | Nimbus | Nimbus / baseline | target | |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for comparison in &self.comparisons {
            let unit = if comparison.what == "p50" { "us" } else { "events/s" };
            let target = match (comparison.what.as_str(), comparison.target) {
                (_, None) => "none".to_owned(),
                ("p50", Some(target)) => format!("at most {target:.2}"),
                (_, Some(target)) => format!("at least {target:.2}"),
            };
            let verdict = if comparison.met { "met" } else { "MISSED" };
            let Spread { median, min, max } = comparison.ratio;
            writeln!(
                f,
                "| {:?} | {} x {} | {} | {} | {} | {median:.2} ({min:.2} to {max:.2}) | {target} | {} |",
                comparison.protocol,
                comparison.streams,
                comparison.window,
                comparison.what,
                spread(&comparison.baseline, unit),
                spread(&comparison.nimbus, unit),
                if comparison.target.is_some() { verdict } else { "" },
            )?;
        }
        if !self.idle.is_empty() {
            writeln!(
                f,
                "\n| server | protocol | idle streams, each on its own connection | KiB a stream | target | |"
            )?;
            writeln!(f, "|---|---|---|---|---|---|")?;
        }
        for idle in &self.idle {
            let (target, verdict) = match idle.kind {
                Kind::Baseline => ("none".to_owned(), ""),
                Kind::Nimbus => {
                    let met = idle.kib_per_stream <= IDLE_AT_MOST_KIB;
                    (format!("at most {IDLE_AT_MOST_KIB:.0}"), if met { "met" } else { "MISSED" })
                }
            };
            writeln!(
                f,
                "| {:?} | {:?} | {} | {:.1} | {target} | {verdict} |",
                idle.kind, idle.protocol, idle.streams, idle.kib_per_stream
            )?;
        }
        Ok(())
    }
}

fn spread(spread: &Spread, unit: &str) -> String {
    format!("{} {unit} ({} to {})", thousands(spread.median), thousands(spread.min), thousands(spread.max))
}

fn thousands(value: f64) -> String {
    if value >= 10_000.0 { format!("{:.0} k", value / 1000.0) } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nimbus_loadtest::Latency;

    use super::*;

    fn measured(round: usize, kind: Kind, shape: Shape, events_per_second: f64, p50_us: f64) -> Vec<Measured> {
        super::super::PROTOCOLS
            .into_iter()
            .map(|protocol| Measured {
                round,
                kind,
                report: LoadReport {
                    protocol,
                    interrupted: false,
                    streams: shape.streams,
                    connections: 1,
                    window: shape.window,
                    seconds: 1.0,
                    sent: 1,
                    answered: 1,
                    events_per_second,
                    latency: Latency { p50_us, ..Latency::default() },
                    lost: 0,
                    duplicates: 0,
                    out_of_order: 0,
                    wrong: 0,
                    failed: 0,
                    rejected: 0,
                    errors: BTreeMap::new(),
                },
            })
            .collect()
    }

    fn report(crowd: f64, alone: f64) -> Report {
        let all = (0..3).flat_map(|round| {
            // The machine is twice as fast in every other round; the ratios do not notice.
            let speed = if round == 1 { 2.0 } else { 1.0 };
            [
                measured(round, Kind::Baseline, CROWD, 1000.0 * speed, 5.0),
                measured(round, Kind::Nimbus, CROWD, 1000.0 * speed * crowd, 5.0),
                measured(round, Kind::Baseline, ALONE, 10.0, 100.0 / speed),
                measured(round, Kind::Nimbus, ALONE, 10.0, 100.0 / speed * alone),
            ]
        });
        Report::new(1.0, 200.0, all.flatten().collect(), Vec::new())
    }

    #[test]
    fn a_missed_target_is_told() {
        assert!(report(0.31, 2.4).meets_every_target());
        assert!(!report(0.29, 2.4).meets_every_target());
        assert!(!report(0.31, 2.6).meets_every_target());
        let text = report(0.29, 2.4).to_string();
        assert_eq!(text.matches("MISSED").count(), 2, "{text}");
        assert!(text.contains("| V1 | 16 x 64 | throughput | 1000 events/s (1000 to 2000) |"), "{text}");
    }

    #[test]
    fn a_heavy_idle_stream_is_told() {
        let mut report = report(1.0, 1.0);
        let idle = |kind, kib_per_stream| IdleStream { kind, protocol: Protocol::V1, streams: 1, kib_per_stream };
        report.idle = vec![idle(Kind::Baseline, 99.0), idle(Kind::Nimbus, 30.0)];
        assert!(report.meets_every_target());
        report.idle.push(idle(Kind::Nimbus, 36.1));
        assert!(!report.meets_every_target());
    }

    #[test]
    fn a_missing_round_is_no_met_target() {
        let report = Report::new(1.0, 200.0, measured(0, Kind::Nimbus, CROWD, 1.0, 1.0), Vec::new());
        assert!(!report.meets_every_target());
    }
}
