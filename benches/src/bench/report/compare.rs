//! Nimbus and what it is compared with, round by round.

use nimbus_loadtest::{LoadReport, Protocol};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Shape,
        kind::{Kind, Setting},
    },
    Measured, Spread,
};

/// What a median has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// Nimbus divided by the other.
    RatioAtLeast(f64),
    RatioAtMost(f64),
}

/// Both at one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Comparison {
    pub(super) setting: Setting,
    pub(super) protocol: Protocol,
    pub(super) streams: usize,
    pub(super) window: usize,
    /// `throughput` in events per second, or `p50` in microseconds.
    pub(super) what: String,
    /// The baseline or the glue.
    pub(super) baseline: Spread,
    pub(super) nimbus: Spread,
    /// Nimbus divided by the baseline, of each round.
    pub(super) ratio: Spread,
    /// Nothing: for information only.
    pub(super) target: Option<Target>,
    pub(super) met: bool,
}

/// Compares the rounds in which both were measured.
pub(super) fn compare(
    measured: &[Measured],
    (setting, protocol, shape): (Setting, Protocol, Shape),
    what: &str,
    value: impl Fn(&LoadReport) -> f64,
    target: Option<Target>,
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
    let (baseline, nimbus) = (of(setting.limit()), of(setting.nimbus()));
    let ratios: Vec<f64> = nimbus
        .iter()
        .filter_map(|(round, ours)| {
            let theirs = baseline.iter().find(|(other, _)| other == round)?.1;
            Some(ours / theirs)
        })
        .collect();
    let values = |pairs: &[(usize, f64)]| Spread::of(&pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    let (baseline, nimbus, ratio) = (values(&baseline), values(&nimbus), Spread::of(&ratios));
    // Without a measurement the median is no number, and no number meets nothing.
    let met = match target {
        None => true,
        Some(Target::RatioAtLeast(least)) => ratio.median >= least,
        Some(Target::RatioAtMost(most)) => ratio.median <= most,
    };
    Comparison {
        setting,
        protocol,
        streams: shape.streams,
        window: shape.window,
        what: what.to_owned(),
        baseline,
        nimbus,
        ratio,
        target,
        met,
    }
}
