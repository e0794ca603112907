//! The embedded log and its mailbox.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use nimbus_core::PartitionCount;

use super::raw_section;
use crate::{Setting, environment, reading::Reading, value};

const MIB: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Next to where it was started: a first run needs no rights elsewhere.
pub(crate) const DATA_DIR: Setting = Setting::new("NIMBUS_DATA_DIR", "./data").example("/var/lib/nimbus");
/// Large enough that files are few, small enough that retention gives room back in steps that matter little.
pub(crate) const SEGMENT_BYTES: Setting = Setting::new("NIMBUS_DATA_SEGMENT_BYTES", "64MiB");
/// A device that was off for a week still gets everything.
pub(crate) const RETENTION: Setting = Setting::new("NIMBUS_DATA_RETENTION", "7d");
/// Fits a small disk; what is not finished yet is kept beyond it.
pub(crate) const MAX_BYTES: Setting = Setting::new("NIMBUS_DATA_MAX_BYTES", "8GiB");
/// A client's partition decides what it waits behind; more than cores is enough.
pub(crate) const PARTITIONS: Setting = Setting::new("NIMBUS_PARTITIONS", "8");
/// What the design measured: more is read from the log instead.
pub(crate) const MAX_RECORDS: Setting = Setting::new("NIMBUS_MAILBOX_MAX_RECORDS", "4096");
/// Covers a reconnect, also one through an airport.
pub(crate) const WINDOW: Setting = Setting::new("NIMBUS_MAILBOX_WINDOW", "5m");

raw_section!(RawData, "NIMBUS_DATA_", {
    dir: DATA_DIR,
    segment_bytes: SEGMENT_BYTES,
    retention: RETENTION,
    max_bytes: MAX_BYTES,
});
raw_section!(RawPartitions, "NIMBUS_", { partitions: PARTITIONS });
raw_section!(RawMailbox, "NIMBUS_MAILBOX_", { max_records: MAX_RECORDS, window: WINDOW });

/// Fewer segments than these within `max_bytes` and retention would delete most of the log at once.
const MIN_SEGMENTS: u64 = 4;

/// The embedded log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// The one data directory.
    pub dir: PathBuf,
    /// At which size a new segment file begins.
    pub segment_bytes: u64,
    /// How long records are kept that every consumer has finished with.
    pub retention: Duration,
    /// Above this size the oldest finished records go before their time.
    pub max_bytes: u64,
    /// How many partitions both logs have; pinned when the directory is made.
    pub partitions: PartitionCount,
}

impl StorageConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawData::read(reading.environment());
        let partitions = RawPartitions::read(reading.environment()).partitions;
        let partitions = reading.value(&PARTITIONS, partitions, |text| {
            let count = value::integer(1..=1024_u32)(text)?;
            NonZeroU32::new(count).map(PartitionCount).ok_or_else(|| "is zero".to_owned())
        });
        let config = Self {
            dir: reading.value(&DATA_DIR, raw.dir, environment::path),
            segment_bytes: reading.value(&SEGMENT_BYTES, raw.segment_bytes, value::bytes(MIB / 16..=4096 * MIB)),
            retention: reading.value(&RETENTION, raw.retention, value::duration(Duration::from_secs(1)..=3650 * DAY)),
            max_bytes: reading.value(&MAX_BYTES, raw.max_bytes, value::bytes(MIB / 4..=1 << 50)),
            partitions,
        };
        if config.max_bytes / config.segment_bytes < MIN_SEGMENTS && reading.are_sound(&[&MAX_BYTES, &SEGMENT_BYTES]) {
            let wrong = format!(
                "\"{}\" holds fewer than {MIN_SEGMENTS} segments of {}",
                value::size(config.max_bytes),
                value::size(config.segment_bytes)
            );
            let remedy = format!("raise it, or lower {}", SEGMENT_BYTES.name);
            reading.problem_with_remedy(&MAX_BYTES, wrong, remedy);
        }
        config
    }
}

/// What waits for clients, ready to be delivered; older results are read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxConfig {
    /// Most records a client.
    pub max_records: usize,
    /// How long they wait.
    pub window: Duration,
}

impl MailboxConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawMailbox::read(reading.environment());
        Self {
            max_records: reading.value(&MAX_RECORDS, raw.max_records, value::integer(16..=1_000_000)),
            window: reading.value(&WINDOW, raw.window, value::duration(Duration::from_secs(1)..=DAY)),
        }
    }
}
