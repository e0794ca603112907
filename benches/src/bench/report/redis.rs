//! What a result costs Redis, of all rounds.

use nimbus_loadtest::Protocol;
use serde::{Deserialize, Serialize};

use super::{super::redis::RedisCost, Spread, median};

/// CPU time of Redis for one result, in microseconds, where batches are as large as this.
pub(super) const AT_MOST_US: f64 = 5.0;
pub(super) const IN_BATCHES_OF: f64 = 64.0;

/// One protocol.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RedisRow {
    pub(super) protocol: Protocol,
    pub(super) us_per_result: Spread,
    pub(super) results_per_batch: Spread,
    pub(super) verdict: Verdict,
}

/// What the target says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Met,
    Missed,
    /// No round had batches large enough: the number stands for itself.
    NotJudged,
}

impl Verdict {
    pub(super) fn is_fine(self) -> bool {
        self != Self::Missed
    }
}

impl RedisRow {
    /// Judged are the rounds with large batches.
    pub(super) fn of(costs: &[RedisCost], protocol: Protocol) -> Self {
        let ours: Vec<_> = costs.iter().filter(|cost| cost.protocol == protocol).collect();
        let judged = ours.iter().filter(|cost| cost.results_per_batch() >= IN_BATCHES_OF);
        let judged: Vec<f64> = judged.map(|cost| cost.us_per_result()).collect();
        let verdict = if ours.is_empty() || (!judged.is_empty() && median(&judged) > AT_MOST_US) {
            Verdict::Missed
        } else if judged.is_empty() {
            Verdict::NotJudged
        } else {
            Verdict::Met
        };
        let spread =
            |value: fn(&RedisCost) -> f64| Spread::of(&ours.iter().map(|cost| value(cost)).collect::<Vec<_>>());
        Self {
            protocol,
            us_per_result: spread(RedisCost::us_per_result),
            results_per_batch: spread(RedisCost::results_per_batch),
            verdict,
        }
    }
}
