//! Results of several load processes of one run as one: counts add up, histograms are added, seconds of the wall clock are laid
//! on top of each other.

use std::collections::BTreeMap;

use super::{LoadResult, Sample, latencies::Latencies};
use crate::{Cost, LoadError, LoadReport, OpenLoop, meter};

/// Makes one result of several. Its time is from the first beginning to the last end, so a process that began late lowers the
/// throughput and never raises it.
///
/// # Errors
/// [`LoadError::Result`]: there is nothing to merge, they speak different protocols, or two of them were not measured at the same
/// time; or latencies are damaged.
pub fn merge(results: &[LoadResult]) -> Result<LoadResult, LoadError> {
    let first = results.first().ok_or_else(|| LoadError::Result("there is nothing to merge".to_owned()))?;
    if results.iter().any(|result| result.report.protocol != first.report.protocol) {
        return Err(LoadError::Result("they speak different protocols".to_owned()));
    }
    let from = results.iter().map(|result| result.measured_from_unix_ms).min().unwrap_or(0);
    let until = results.iter().map(end_ms).fold(0.0, f64::max);
    let latest = results.iter().map(|result| result.measured_from_unix_ms).max().unwrap_or(0);
    #[allow(clippy::cast_precision_loss)]
    if results.iter().any(|result| end_ms(result) <= latest as f64) {
        return Err(LoadError::Result("they were not measured at the same time".to_owned()));
    }
    let latencies = Latencies::merged(results.iter().map(|result| &result.latencies))?;
    let mut report = results[1..].iter().fold(first.report.clone(), |merged, result| add(merged, &result.report));
    #[allow(clippy::cast_precision_loss)]
    {
        report.seconds = (until - from as f64) / 1000.0;
        report.events_per_second = report.measured as f64 / report.seconds;
    }
    report.latency = meter::latency(&latencies).unwrap_or_default();
    report.cost = cost(results, report.measured, report.streams + report.idle);
    Ok(LoadResult {
        schema: first.schema.clone(),
        measured_from_unix_ms: from,
        loads: results.iter().flat_map(|result| result.loads.clone()).collect(),
        report,
        latencies: Latencies::of(&latencies),
        samples: samples(results)?,
    })
}

#[allow(clippy::cast_precision_loss)]
fn end_ms(result: &LoadResult) -> f64 {
    result.measured_from_unix_ms as f64 + result.report.seconds * 1000.0
}

/// What adds up. Time, throughput, percentiles and cost do not.
fn add(mut merged: LoadReport, more: &LoadReport) -> LoadReport {
    merged.interrupted |= more.interrupted;
    merged.streams += more.streams;
    merged.connections += more.connections;
    merged.window = merged.window.max(more.window);
    merged.sent += more.sent;
    merged.answered += more.answered;
    merged.measured += more.measured;
    merged.lost += more.lost;
    merged.duplicates += more.duplicates;
    merged.out_of_order += more.out_of_order;
    merged.wrong += more.wrong;
    merged.failed += more.failed;
    merged.rejected += more.rejected;
    merged.idle += more.idle;
    merged.slow_readers += more.slow_readers;
    merged.reconnects += more.reconnects;
    merged.longest_reconnect_us = merged.longest_reconnect_us.max(more.longest_reconnect_us);
    for (error, count) in &more.errors {
        *merged.errors.entry(error.clone()).or_default() += count;
    }
    merged.open_loop = match (merged.open_loop, more.open_loop) {
        (Some(one), Some(other)) => Some(one.merged(other)),
        (one, other) => one.or(other),
    };
    merged
}

impl OpenLoop {
    #[allow(clippy::cast_precision_loss)]
    fn merged(self, other: Self) -> Self {
        let free = self.free + other.free;
        let total = self.mean_lateness_us * self.free as f64 + other.mean_lateness_us * other.free as f64;
        Self {
            rate: self.rate + other.rate,
            held: self.held + other.held,
            unsent: self.unsent + other.unsent,
            free,
            late: self.late + other.late,
            mean_lateness_us: total / free.max(1) as f64,
            max_lateness_us: self.max_lateness_us.max(other.max_lateness_us),
        }
    }
}

/// Load processes of one machine share it; a server that several looked at is one.
#[allow(clippy::cast_precision_loss)]
fn cost(results: &[LoadResult], events: u64, streams: usize) -> Cost {
    let mut merged = Cost::default();
    for Cost { machines, servers } in results.iter().map(|result| &result.report.cost) {
        for machine in machines {
            match merged.machines.iter_mut().find(|one| one.host == machine.host) {
                Some(same) => {
                    same.load_cores += machine.load_cores;
                    same.load_cpu_seconds += machine.load_cpu_seconds;
                    same.busy = same.busy.max(machine.busy);
                    same.seconds = same.seconds.max(machine.seconds);
                }
                None => merged.machines.push(machine.clone()),
            }
        }
        for server in servers {
            match merged.servers.iter_mut().find(|one| (&one.host, one.pid) == (&server.host, server.pid)) {
                Some(same) => {
                    same.ended |= server.ended;
                    same.cpu_seconds = same.cpu_seconds.max(server.cpu_seconds);
                    same.cores = same.cores.max(server.cores);
                    same.rss_before_mib = same.rss_before_mib.min(server.rss_before_mib);
                    same.rss_max_mib = same.rss_max_mib.max(server.rss_max_mib);
                }
                None => merged.servers.push(server.clone()),
            }
        }
    }
    merged.servers.iter_mut().for_each(|server| server.divide(events, streams));
    merged
}

#[allow(clippy::cast_precision_loss)]
fn samples(results: &[LoadResult]) -> Result<Vec<Sample>, LoadError> {
    let mut seconds: BTreeMap<u64, Vec<&Sample>> = BTreeMap::new();
    for sample in results.iter().flat_map(|result| &result.samples) {
        seconds.entry(sample.unix_second).or_default().push(sample);
    }
    let merged = seconds.into_iter().map(|(unix_second, samples)| {
        let latencies = Latencies::merged(samples.iter().map(|sample| &sample.latencies))?;
        Ok(Sample {
            unix_second,
            seconds: samples.iter().map(|sample| sample.seconds).fold(0.0, f64::max),
            answered: samples.iter().map(|sample| sample.answered).sum(),
            events_per_second: samples.iter().map(|sample| sample.events_per_second).sum(),
            latency: meter::latency(&latencies),
            latencies: Latencies::of(&latencies),
        })
    });
    merged.collect()
}
