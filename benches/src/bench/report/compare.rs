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

impl Target {
    /// Without a measurement a ratio is no number, and no number meets nothing.
    pub(super) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::RatioAtLeast(least) => ratio >= least,
            Self::RatioAtMost(most) => ratio <= most,
        }
    }
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
        let these = measured.iter().filter(|one| one.is_of(kind, protocol, shape));
        these.map(|one| (one.round, value(&one.report))).collect()
    };
    let (baseline, nimbus) = (of(setting.limit()), of(setting.nimbus()));
    let ratio = Spread::of(&ratios(&nimbus, &baseline));
    let (baseline, nimbus) = (spread(&baseline), spread(&nimbus));
    let met = target.is_none_or(|target| target.is_met(ratio.median));
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

/// Of values by their round: each of ours divided by theirs of the same round, where there is one.
pub(super) fn ratios(ours: &[(usize, f64)], theirs: &[(usize, f64)]) -> Vec<f64> {
    let of = |(round, ours): &(usize, f64)| {
        let (_, theirs) = theirs.iter().find(|(other, _)| other == round)?;
        Some(ours / theirs)
    };
    ours.iter().filter_map(of).collect()
}

/// Over all rounds.
pub(super) fn spread(by_round: &[(usize, f64)]) -> Spread {
    Spread::of(&by_round.iter().map(|(_, value)| *value).collect::<Vec<_>>())
}
