//! The embedded log and its mailbox.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use nimbus_core::PartitionCount;

use super::raw_section;
use crate::{Setting, environment, reading::Reading, value};

const MIB: u64 = 1024 * 1024;
/// A pebibyte: more than any one disk.
const LARGEST: u64 = 1 << 50;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Next to where it was started: a first run needs no rights elsewhere.
pub(crate) const DATA_DIR: Setting = Setting::new("NIMBUS_DATA_DIR", "./data").example("/var/lib/nimbus");
/// Large enough that files are few, small enough that retention gives room back in steps that matter little.
pub(crate) const SEGMENT_BYTES: Setting = Setting::new("NIMBUS_DATA_SEGMENT_BYTES", "64MiB");
/// A device that was off for a week still gets everything.
pub(crate) const RETENTION: Setting = Setting::new("NIMBUS_DATA_RETENTION", "7d");
/// Fits a small disk.
pub(crate) const RETENTION_BYTES: Setting = Setting::new("NIMBUS_DATA_RETENTION_BYTES", "4GiB");
/// Room for a long outage of executors beyond the history that is kept.
pub(crate) const MAX_BYTES: Setting = Setting::new("NIMBUS_DATA_MAX_BYTES", "16GiB");
/// What is accepted can still be answered when the disk is full.
pub(crate) const RESERVE_BYTES: Setting = Setting::new("NIMBUS_DATA_RESERVE_BYTES", "64MiB");
/// A client's partition decides what it waits behind; more than cores is enough.
pub(crate) const PARTITIONS: Setting = Setting::new("NIMBUS_PARTITIONS", "8");
/// What the design measured: more is read from the log instead.
pub(crate) const MAX_RECORDS: Setting = Setting::new("NIMBUS_MAILBOX_MAX_RECORDS", "4096");
/// Covers a reconnect, also one through an airport.
pub(crate) const WINDOW: Setting = Setting::new("NIMBUS_MAILBOX_WINDOW", "5m");
/// A client of usual records meets the record limit first.
pub(crate) const CLIENT_BYTES: Setting = Setting::new("NIMBUS_MAILBOX_CLIENT_BYTES", "4MiB");
/// With the default number of partitions at most 128 MiB.
pub(crate) const PARTITION_BYTES: Setting = Setting::new("NIMBUS_MAILBOX_PARTITION_BYTES", "16MiB");

raw_section!(RawData, "NIMBUS_DATA_", {
    dir: DATA_DIR,
    segment_bytes: SEGMENT_BYTES,
    retention: RETENTION,
    retention_bytes: RETENTION_BYTES,
    max_bytes: MAX_BYTES,
    reserve_bytes: RESERVE_BYTES,
});
raw_section!(RawPartitions, "NIMBUS_", { partitions: PARTITIONS });
raw_section!(RawMailbox, "NIMBUS_MAILBOX_", {
    max_records: MAX_RECORDS,
    window: WINDOW,
    client_bytes: CLIENT_BYTES,
    partition_bytes: PARTITION_BYTES,
});

/// With fewer segments, retention would delete most of the history at once.
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
    pub retention_bytes: u64,
    /// At this size of the whole log new events are refused.
    pub max_bytes: u64,
    /// With less than this free on the disk new events are refused.
    pub reserve_bytes: u64,
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
            segment_bytes: reading.value(&SEGMENT_BYTES, raw.segment_bytes, value::bytes(4096..=1024 * MIB)),
            retention: reading.value(&RETENTION, raw.retention, value::duration(Duration::from_secs(1)..=3650 * DAY)),
            retention_bytes: reading.value(&RETENTION_BYTES, raw.retention_bytes, value::bytes(0..=LARGEST)),
            max_bytes: reading.value(&MAX_BYTES, raw.max_bytes, value::bytes(0..=LARGEST)),
            reserve_bytes: reading.value(&RESERVE_BYTES, raw.reserve_bytes, value::bytes(0..=LARGEST)),
            partitions,
        };
        config.check(reading);
        config
    }

    fn check(&self, reading: &mut Reading<'_>) {
        let least = self.segment_bytes * MIN_SEGMENTS;
        if self.retention_bytes < least && reading.are_sound(&[&RETENTION_BYTES, &SEGMENT_BYTES]) {
            let wrong = format!(
                "\"{}\" is less than {MIN_SEGMENTS} segments of {}",
                value::size(self.retention_bytes),
                value::size(self.segment_bytes)
            );
            let remedy = format!("raise it, or lower {}", SEGMENT_BYTES.name);
            reading.problem_with_remedy(&RETENTION_BYTES, wrong, remedy);
        }
        if self.max_bytes < self.retention_bytes && reading.are_sound(&[&RETENTION_BYTES, &MAX_BYTES]) {
            let wrong = format!(
                "\"{}\" is less than {}, so that the history alone would make the log refuse events",
                value::size(self.max_bytes),
                RETENTION_BYTES.name
            );
            let remedy = format!("raise it, or lower {}", RETENTION_BYTES.name);
            reading.problem_with_remedy(&MAX_BYTES, wrong, remedy);
        }
    }
}

/// What waits for clients, ready to be delivered; older results are read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxConfig {
    /// Most records a client.
    pub max_records: usize,
    /// How long they wait.
    pub window: Duration,
    /// Most bytes a client.
    pub client_bytes: usize,
    /// Most bytes a partition; the oldest go first.
    pub partition_bytes: usize,
}

impl MailboxConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawMailbox::read(reading.environment());
        let memory = value::memory(64 * 1024..=64 * 1024 * MIB);
        Self {
            max_records: reading.value(&MAX_RECORDS, raw.max_records, value::integer(16..=1_000_000)),
            window: reading.value(&WINDOW, raw.window, value::duration(Duration::from_secs(1)..=DAY)),
            client_bytes: reading.value(&CLIENT_BYTES, raw.client_bytes, memory.clone()),
            partition_bytes: reading.value(&PARTITION_BYTES, raw.partition_bytes, memory),
        }
    }
}
