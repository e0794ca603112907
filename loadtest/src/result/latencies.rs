//! Latencies in a file: the whole histogram, in the form that HdrHistogram's tools in all languages read (V2, deflated,
//! base64). Percentiles of percentiles mean nothing; histograms can be added.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer as _, V2DeflateSerializer},
};
use serde::{Deserialize, Serialize};

use crate::{LoadError, meter::Measured};

/// Latencies in nanoseconds, as a histogram with three digits, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latencies(String);

impl Latencies {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .expect("a vector takes everything, and counts are far from their limit");
        Self(STANDARD.encode(bytes))
    }

    /// Decodes them.
    ///
    /// # Errors
    /// [`LoadError::Result`]: it is no histogram.
    pub fn histogram(&self) -> Result<Histogram<u64>, LoadError> {
        let damaged = |why: String| LoadError::Result(format!("its latencies are no histogram: {why}"));
        let bytes = STANDARD.decode(&self.0).map_err(|error| damaged(error.to_string()))?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| damaged(error.to_string()))
    }

    /// Those of several in one.
    pub(crate) fn merged<'a>(all: impl IntoIterator<Item = &'a Self>) -> Result<Histogram<u64>, LoadError> {
        let mut merged = Measured::new().latencies;
        for one in all {
            let too_large = |error| LoadError::Result(format!("its latencies cannot be added: {error}"));
            merged.add(&one.histogram()?).map_err(too_large)?;
        }
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_a_file_and_can_be_added() {
        let mut interval = Measured::new();
        (1..=1000).for_each(|micros| interval.latency(micros * 1000));
        let encoded = Latencies::of(&interval.latencies);
        assert!(encoded.0.starts_with("HISTFAAA"), "what every HdrHistogram begins with in this form: {encoded:?}");
        assert_eq!(encoded.histogram().unwrap(), interval.latencies);
        let twice = Latencies::merged([&encoded, &encoded]).unwrap();
        assert_eq!((twice.len(), twice.max()), (2000, interval.latencies.max()));
        for damaged in ["", "HISTFAAA", "?"] {
            assert!(matches!(Latencies(damaged.to_owned()).histogram(), Err(LoadError::Result(_))), "{damaged}");
        }
    }
}
