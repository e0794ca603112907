//! What the loads beyond the shapes say.

use nimbus_loadtest::LoadReport;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        beyond::{Beyond, Measured, SHORTEST_PAYLOAD},
        kind::{Kind, Setting},
    },
    Spread,
    compare::{Target, ratios, spread},
};

/// p99.9 at half of the capacity, as a multiple of the median of the same load on the embedded log.
const EMBEDDED_TAIL: Target = Target::RatioAtMost(5.0);
/// The same through Kafka and Redis, as a multiple of the glue's p99.9.
const DISTRIBUTED_TAIL: Target = Target::RatioAtMost(4.0);
/// Throughput at a rate that ten times the clients make, as a part of what a tenth of them reaches.
const TEN_TIMES: Target = Target::RatioAtLeast(0.9);

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BeyondRow {
    pub(super) setting: Setting,
    pub(super) load: String,
    /// `events/s` or `us`.
    pub(super) unit: String,
    /// Nothing: it cannot do that.
    pub(super) limit: Option<Spread>,
    pub(super) nimbus: Spread,
    /// What is divided by what.
    pub(super) ratio_of: String,
    pub(super) ratio: Spread,
    /// Nothing: for information only.
    pub(super) target: Option<Target>,
    pub(super) met: bool,
}

/// A number of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Throughput,
    Median,
    Tail,
}

impl Value {
    const fn of(self, report: &LoadReport) -> f64 {
        match self {
            Self::Throughput => report.events_per_second,
            Self::Median => report.latency.p50_us,
            Self::Tail => report.latency.p999_us,
        }
    }

    fn unit(self) -> String {
        (if self == Self::Throughput { "events/s" } else { "us" }).to_owned()
    }
}

/// All of one setting.
pub(super) fn rows(measured: &[Measured], setting: Setting) -> Vec<BeyondRow> {
    let of = |kind: Kind, what: Beyond, value: Value| -> Vec<(usize, f64)> {
        let these = measured.iter().filter(|one| (one.setting, one.kind, one.what) == (setting, kind, what));
        these.map(|one| (one.round, value.of(&one.report))).collect()
    };
    let (limit, nimbus) = (setting.limit(), setting.nimbus());
    let row = |what, load: String, value: Value, by: (&str, Kind, Beyond, Value), target: Option<Target>| {
        let (ratio_of, kind, other, divisor) = by;
        let ours = of(nimbus, what, value);
        let ratio = Spread::of(&ratios(&ours, &of(kind, other, divisor)));
        BeyondRow {
            setting,
            load,
            unit: value.unit(),
            limit: what.is_for(limit).then(|| spread(&of(limit, what, value))),
            nimbus: spread(&ours),
            ratio_of: ratio_of.to_owned(),
            ratio,
            target,
            met: target.is_none_or(|target| target.is_met(ratio.median)),
        }
    };
    let mut rows = Vec::new();
    for what in Beyond::all() {
        match what {
            Beyond::Payload(bytes) => {
                let load = format!("payload of {bytes} bytes, throughput");
                let by = match what.is_for(limit) {
                    true => ("Nimbus / limit", limit, what, Value::Throughput),
                    false => ("of the shortest", nimbus, Beyond::Payload(SHORTEST_PAYLOAD), Value::Throughput),
                };
                rows.push(row(what, load, Value::Throughput, by, None));
            }
            Beyond::HalfOfCapacity => {
                let load = |quantile| format!("half of the capacity, open loop, {quantile}");
                rows.push(row(what, load("p50"), Value::Median, ("Nimbus / limit", limit, what, Value::Median), None));
                let (by, target) = if setting == Setting::Embedded {
                    (("p99.9 / p50 of Nimbus", nimbus, what, Value::Median), EMBEDDED_TAIL)
                } else {
                    (("Nimbus / limit", limit, what, Value::Tail), DISTRIBUTED_TAIL)
                };
                rows.push(row(what, load("p99.9"), Value::Tail, by, Some(target)));
            }
            Beyond::TenTimesTheClients => {
                let load = |of| format!("the same rate from ten times the clients, {of}");
                let by = ("Nimbus / Nimbus with a tenth of them", nimbus, Beyond::HalfOfCapacity, Value::Throughput);
                rows.push(row(what, load("throughput"), Value::Throughput, by, Some(TEN_TIMES)));
                rows.push(row(what, load("p99.9"), Value::Tail, ("Nimbus / limit", limit, what, Value::Tail), None));
            }
        }
    }
    rows
}
