//! What came out: ratios of the same round, their median and their spread.

mod beyond;
mod compare;
mod cpu;
mod kafka;
mod redis;
mod text;

#[cfg(test)]
mod tests;

use nimbus_loadtest::{LoadReport, Protocol};
use serde::{Deserialize, Serialize};

use self::{
    beyond::BeyondRow,
    compare::{Comparison, Target, compare},
    cpu::CpuRow,
    kafka::KafkaRow,
    redis::RedisRow,
};
use super::{
    ALONE, CROWD, MANY, PROTOCOLS, SHAPES, Shape, beyond as beyond_loads,
    cpu::RoleCpu,
    distributed::Costs,
    kind::{Kind, Setting},
    memory::IdleStream,
};

/// Throughput of the crowds on the embedded log, as a part of the baseline's.
const EMBEDDED_THROUGHPUT: Target = Target::RatioAtLeast(0.45);
/// The same through Kafka and Redis, of the glue's.
const DISTRIBUTED_THROUGHPUT: Target = Target::RatioAtLeast(0.60);
/// Median latency of one alone on the embedded log, as a multiple of the baseline's.
const EMBEDDED_LATENCY: Target = Target::RatioAtMost(1.30);
/// The same through Kafka and Redis, of the glue's.
const DISTRIBUTED_LATENCY: Target = Target::RatioAtMost(1.25);
/// Throughput of the crowds on the embedded log, as a multiple of that of NATS JetStream, which syncs nothing.
const NATS_THROUGHPUT: Target = Target::RatioAtLeast(3.0);
/// Memory of an idle stream, in KiB.
const IDLE_AT_MOST_KIB: f64 = 25.0;
/// The same, over TLS.
const IDLE_TLS_AT_MOST_KIB: f64 = 45.0;
/// How much of a core the idle streams of one run may keep busy.
const IDLE_AT_MOST_CORES: f64 = 0.01;

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) round: usize,
    pub(super) kind: Kind,
    /// Of each of its processes, and of what they use.
    pub(super) cpu: Vec<RoleCpu>,
    pub(super) report: LoadReport,
}

impl Measured {
    /// Whether it is this server under this load.
    pub(super) fn is_of(&self, kind: Kind, protocol: Protocol, shape: Shape) -> bool {
        let report = &self.report;
        (self.kind, report.protocol, report.streams, report.window) == (kind, protocol, shape.streams, shape.window)
    }
}

/// What became of the part over Kafka and Redis.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Distributed {
    Measured(Costs),
    /// Left out, as asked for.
    NotWanted,
    /// Left out or failed, for this reason.
    NotMeasured(String),
}

/// Several measurements of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
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
    distributed: Distributed,
    redis: Vec<RedisRow>,
    kafka: Vec<KafkaRow>,
    beyond: Vec<BeyondRow>,
    cpu: Vec<CpuRow>,
    /// Everything that was measured.
    measured: Vec<Measured>,
    measured_beyond: Vec<beyond_loads::Measured>,
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
    pub(super) fn new(
        seconds: f64,
        fdatasync: f64,
        measured: Vec<Measured>,
        measured_beyond: Vec<beyond_loads::Measured>,
        idle: Vec<IdleStream>,
        distributed: Distributed,
    ) -> Self {
        let mut comparisons = compare_all(&measured, Setting::Embedded);
        let mut beyond = beyond::rows(&measured_beyond, Setting::Embedded);
        let (mut redis, mut kafka) = (Vec::new(), Vec::new());
        if let Distributed::Measured(costs) = &distributed {
            comparisons.extend(compare_all(&measured, Setting::Distributed));
            redis.extend(PROTOCOLS.map(|protocol| RedisRow::of(&costs.redis, protocol)));
            kafka.push(KafkaRow::of(&costs.kafka));
            beyond.extend(beyond::rows(&measured_beyond, Setting::Distributed));
        }
        comparisons.extend(compare_all(&measured, Setting::Echo));
        // Where there is no NATS, nothing is missed.
        if measured.iter().any(|one| one.kind == Kind::Nats) {
            comparisons.extend(compare_all(&measured, Setting::Nats));
        }
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            seconds_per_measurement: seconds,
            fdatasync_p50_us: fdatasync,
            comparisons,
            idle,
            idle_target_kib: IDLE_AT_MOST_KIB,
            distributed,
            redis,
            kafka,
            beyond,
            cpu: cpu::rows(&measured),
            measured,
            measured_beyond,
        }
    }

    /// A part that could not be measured has missed its targets; one that nobody wanted has none.
    pub(super) fn meets_every_target(&self) -> bool {
        let mut idle = self.idle.iter().filter(|idle| idle.kind == Kind::Nimbus);
        self.comparisons.iter().all(|comparison| comparison.met)
            && self.beyond.iter().all(|row| row.met)
            && idle.all(|idle| idle.kib_per_stream <= idle_at_most_kib(idle) && cores_met(idle))
            && self.kafka.iter().all(|row| row.met)
            && self.redis.iter().all(|row| row.verdict.is_fine())
            && !matches!(self.distributed, Distributed::NotMeasured(_))
    }
}

const fn idle_at_most_kib(idle: &IdleStream) -> f64 {
    if idle.tls { IDLE_TLS_AT_MOST_KIB } else { IDLE_AT_MOST_KIB }
}

/// What was not looked at is not judged; nor is what pings cost over TLS, for which there is no target.
fn cores_met(idle: &IdleStream) -> bool {
    idle.tls || idle.cores.is_none_or(|cores| cores <= IDLE_AT_MOST_CORES)
}

fn compare_all(measured: &[Measured], setting: Setting) -> Vec<Comparison> {
    let (throughput, latency) = match setting {
        Setting::Embedded => (Some(EMBEDDED_THROUGHPUT), Some(EMBEDDED_LATENCY)),
        Setting::Distributed => (Some(DISTRIBUTED_THROUGHPUT), Some(DISTRIBUTED_LATENCY)),
        Setting::Echo => (None, None),
        Setting::Nats => (Some(NATS_THROUGHPUT), None),
    };
    let of_shape = |protocol, shape: Shape| {
        let what = (setting, protocol, shape);
        [
            compare(
                measured,
                what,
                "throughput",
                |report| report.events_per_second,
                throughput.filter(|_| [CROWD, MANY].contains(&shape)),
            ),
            compare(measured, what, "p50", |report| report.latency.p50_us, latency.filter(|_| shape == ALONE)),
        ]
    };
    PROTOCOLS
        .into_iter()
        .flat_map(|protocol| SHAPES.into_iter().flat_map(move |shape| of_shape(protocol, shape)))
        .collect()
}
