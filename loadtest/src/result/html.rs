//! A result as a page that needs nothing but a browser: latency and throughput over time, and how latencies are distributed.

use hdrhistogram::Histogram;

use super::{
    LoadResult, Sample,
    chart::{Axis, Line, STYLE, chart},
};
use crate::{Latency, LoadError};

const BLUE: &str = "#1769aa";
const RED: &str = "#c2452a";
const VIOLET: &str = "#7b61a8";

/// A shorter part of a second says nothing of its throughput.
const SLIVER: f64 = 0.2;
/// How many points a power of ten of the distribution has.
const POINTS: i32 = 20;

/// The page of a result.
///
/// # Errors
/// [`LoadError::Result`]: its latencies are damaged.
pub fn page(result: &LoadResult) -> Result<String, LoadError> {
    let latencies = result.latencies.histogram()?;
    let title = title(result);
    let text = escaped(&result.report.to_string());
    let charts = [latency(&result.samples), throughput(&result.samples), distribution(&latencies)].concat();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
<style>body{{font:15px ui-sans-serif,system-ui,sans-serif;color:#1f2933;max-width:960px;margin:2em auto;padding:0 1em}}\
h1{{font-size:20px}}pre{{background:#f5f7f9;padding:1em;overflow-x:auto}}svg{{display:block;max-width:100%;height:auto;margin:1.5em 0}}{STYLE}</style>\n\
</head><body><h1>{title}</h1>\n<pre>{text}</pre>\n{charts}</body></html>\n"
    ))
}

fn title(result: &LoadResult) -> String {
    let report = &result.report;
    let address = result.loads.first().map_or("", |load| load.address.trim_start_matches("http://"));
    let processes = result.loads.len();
    let by = if processes > 1 { format!(" by {processes} load processes") } else { String::new() };
    let open = report.open_loop.map_or_else(String::new, |open_loop| format!(" at {} events/s", open_loop.rate));
    escaped(&format!("Load on {address}: {} streams{open}{by}", report.streams))
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn latency(samples: &[Sample]) -> String {
    let latencies = || samples.iter().filter_map(|sample| sample.latency);
    let least = latencies().map(|latency| latency.p50_us).fold(f64::INFINITY, f64::min);
    let most = latencies().map(|latency| latency.p999_us).fold(0.0, f64::max);
    let y = micros_axis(if least.is_finite() { least } else { 1.0 }, most);
    let line = |name, colour, of: fn(Latency) -> f64| Line {
        name,
        colour,
        points: samples.iter().map(|sample| (since(samples, sample), sample.latency.map(of))).collect(),
    };
    let lines = [
        line("p50", BLUE, |latency| latency.p50_us),
        line("p99", RED, |latency| latency.p99_us),
        line("p99.9", VIOLET, |latency| latency.p999_us),
    ];
    chart("Latency of each second's answers", &time_axis(samples), &y, &lines)
}

fn throughput(samples: &[Sample]) -> String {
    let samples: Vec<Sample> = samples.iter().filter(|sample| sample.seconds >= SLIVER).cloned().collect();
    let most = samples.iter().map(|sample| sample.events_per_second).fold(0.0, f64::max);
    let y = Axis::linear("events/s", most * 1.05, |value| format!("{value:.0}"));
    let points = samples.iter().map(|sample| (since(&samples, sample), Some(sample.events_per_second))).collect();
    let answers = Line { name: "answers", colour: BLUE, points };
    chart("Throughput", &time_axis(&samples), &y, &[answers])
}

/// Every power of ten on the right is a tenth of the answers: 90 %, 99 %, 99.9 %, …
#[allow(clippy::cast_precision_loss)]
fn distribution(latencies: &Histogram<u64>) -> String {
    let decades = (latencies.len().max(10) as f64).log10().ceil() as i32;
    let points = (0..=decades * POINTS).map(|step| {
        let rarity = 10f64.powf(f64::from(step) / f64::from(POINTS));
        let value = latencies.value_at_quantile(1.0 - 1.0 / rarity) as f64 / 1000.0;
        (rarity, (!latencies.is_empty()).then_some(value))
    });
    let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    let ticks = (0..=decades).zip(names).map(|(power, name)| (10f64.powi(power), name.to_owned()));
    let x = Axis::log("of the answers came within", 1.0, 10f64.powi(decades), |_| String::new());
    let x = x.with_ticks(ticks.collect());
    let y = micros_axis(latencies.min().max(1) as f64 / 1000.0, latencies.max() as f64 / 1000.0);
    let all = Line { name: "all answers", colour: BLUE, points: points.collect() };
    chart("Distribution of latency", &x, &y, &[all])
}

fn micros_axis(least: f64, most: f64) -> Axis {
    let name = |micros: f64| match micros {
        micros if micros < 1e3 => format!("{micros} us"),
        micros if micros < 1e6 => format!("{} ms", micros / 1e3),
        micros => format!("{} s", micros / 1e6),
    };
    Axis::log("log scale", least * 0.8, most * 1.25, name)
}

fn time_axis(samples: &[Sample]) -> Axis {
    let end = samples.last().map_or(1.0, |last| since(samples, last));
    Axis::linear("seconds", end, |value| format!("{value}"))
}

/// Seconds since the first sample.
#[allow(clippy::cast_precision_loss)]
fn since(samples: &[Sample], sample: &Sample) -> f64 {
    samples.first().map_or(0.0, |first| (sample.unix_second - first.unix_second) as f64)
}
