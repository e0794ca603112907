//! The result of a load as a file: its report, and what is needed to draw it, to compare it and to merge it with others.

mod chart;
mod compare;
mod html;
mod latencies;
mod merge;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::{
    compare::{Compared, Unit, compare},
    html::page,
    latencies::Latencies,
    merge::merge,
};
use crate::{Latency, LoadConfig, LoadError, LoadReport, meter, meter::Measured};

/// Names this form of the file. Raised when a reader that ignores what it does not know would misunderstand it.
pub const SCHEMA: &str = "nimbus-load/1";

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadResult {
    /// [`SCHEMA`].
    pub schema: String,
    /// When measuring began, in milliseconds since 1970 UTC.
    pub measured_from_unix_ms: u64,
    /// What load was made, by each load process.
    pub loads: Vec<LoadConfig>,
    /// What was found out.
    pub report: LoadReport,
    /// Every latency that the report's percentiles are of.
    pub latencies: Latencies,
    /// The measured time, second by second.
    pub samples: Vec<Sample>,
}

/// One second of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which second, since 1970 UTC.
    pub unix_second: u64,
    /// How much of it was measured: the first and the last are seldom whole.
    pub seconds: f64,
    /// Answers that came in it.
    pub answered: u64,
    /// The same, per second.
    pub events_per_second: f64,
    /// Of these answers; nothing if there were none.
    pub latency: Option<Latency>,
    /// Every one of them.
    pub latencies: Latencies,
}

impl Sample {
    /// What was measured from this moment on for so long.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub(crate) fn new(since_1970: Duration, time: Duration, measured: &Measured) -> Self {
        // A look comes a little after its second has begun, and not quite as much after as the look before.
        const SLACK: Duration = Duration::from_millis(5);
        let answered = measured.counts.measured;
        Self {
            unix_second: (since_1970 + SLACK).as_secs(),
            seconds: time.as_secs_f64(),
            answered,
            events_per_second: answered as f64 / time.as_secs_f64(),
            latency: meter::latency(&measured.latencies),
            latencies: Latencies::of(&measured.latencies),
        }
    }
}

impl LoadResult {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError::Result`]: it is no such file, or one of another version.
    pub fn from_json(text: &str) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let no_result = |error: serde_json::Error| LoadError::Result(format!("it is no result of a load: {error}"));
        let Head { schema } = serde_json::from_str(text).map_err(no_result)?;
        if schema != SCHEMA {
            return Err(LoadError::Result(format!("it is of schema `{schema}`, and this version reads `{SCHEMA}`")));
        }
        serde_json::from_str(text).map_err(no_result)
    }

    /// Writes one. The token is not in it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it has neither maps without text keys nor numbers that are none")
    }
}

#[cfg(test)]
mod tests;
