//! What an event and its result take in Kafka: the growth of all files of their topics.

use std::{fs, path::Path};

use anyhow::Context;
use nimbus_loadtest::{LoadConfig, Protocol};
use serde::{Deserialize, Serialize};

use super::{CROWD, Plan, load, server::Server};

/// Of an event. Its result, the square, is shorter.
const PAYLOAD_BYTES: usize = 64;

/// What one load has stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KafkaBytes {
    pub(super) round: usize,
    pub(super) payload_bytes: usize,
    /// Events answered, warm-up included.
    pub(super) answered: u64,
    /// Of both topics: records and what Kafka puts around batches of them. Not their indexes, and not what members commit.
    pub(super) bytes: u64,
}

impl KafkaBytes {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn per_event(&self) -> f64 {
        self.bytes as f64 / self.answered as f64
    }
}

/// Makes a load, and looks at the topics whose names begin so.
pub(super) async fn measure(
    plan: &Plan,
    round: usize,
    server: &Server,
    (data, topics): (&Path, &str),
) -> anyhow::Result<KafkaBytes> {
    let config = LoadConfig { payload_bytes: PAYLOAD_BYTES, ..load(plan, server, Protocol::V1, CROWD) };
    let before = stored(data, topics)?;
    let report = nimbus_loadtest::run(&config, |_| {}).await?;
    anyhow::ensure!(report.is_clean(), "a load was not clean: {report}");
    let bytes = stored(data, topics)? - before;
    let stored = KafkaBytes { round, payload_bytes: PAYLOAD_BYTES, answered: report.answered, bytes };
    anyhow::ensure!(stored.answered > 0, "a load was not answered");
    eprintln!("    Kafka: {:.0} bytes an event with a payload of {PAYLOAD_BYTES}", stored.per_event());
    Ok(stored)
}

/// Each partition is a directory; segments are its files that end so.
fn stored(data: &Path, topics: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for partition in fs::read_dir(data).with_context(|| data.display().to_string())? {
        let partition = partition?;
        if partition.file_name().to_string_lossy().starts_with(topics) {
            for file in fs::read_dir(partition.path())? {
                let file = file?;
                if file.path().extension().is_some_and(|extension| extension == "log") {
                    bytes += file.metadata()?.len();
                }
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_of_these_topics_are_counted() {
        let data = tempfile::tempdir().unwrap();
        for (partition, file, bytes) in [
            ("a-events-0", "0.log", 5),
            ("a-events-1", "0.log", 7),
            ("a-events-1", "0.index", 100),
            ("b-0", "0.log", 100),
        ] {
            fs::create_dir_all(data.path().join(partition)).unwrap();
            fs::write(data.path().join(partition).join(file), vec![0; bytes]).unwrap();
        }
        assert_eq!(stored(data.path(), "a-").unwrap(), 12);
    }
}
