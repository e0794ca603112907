//! What a directory is, or becomes: reads `meta`, or makes a new log.

use nimbus_core::{LogEpoch, clock::Clock};
use ulid::Ulid;

use crate::{
    config::EmbeddedConfig,
    disk::Disk,
    error::OpenError,
    meta::{FORMAT_VERSION, META, Meta, MetaError},
    segment::{self, Form, SegmentHeader},
    snapshot,
    topic::Topic,
};

/// Reads what a directory is; one that is not begun becomes an empty log.
pub(crate) fn read_or_create(disk: &dyn Disk, config: &EmbeddedConfig, clock: &dyn Clock) -> Result<Meta, OpenError> {
    let dir = || config.data_dir.clone();
    let found = Meta::read(disk).map_err(|error| match error {
        MetaError::Version(found) if found > FORMAT_VERSION => OpenError::NewerFormat { dir: dir(), found },
        MetaError::Version(found) => OpenError::OlderFormat { dir: dir(), found },
        MetaError::Damaged { offset, what } => OpenError::damaged(META, offset, what),
        MetaError::Io(error) => OpenError::io("read meta")(error),
    })?;
    if let Some(meta) = found {
        let (found, wanted) = (meta.partitions.0.get(), config.partitions.0.get());
        return if found == wanted { Ok(meta) } else { Err(OpenError::Partitions { dir: dir(), found, wanted }) };
    }
    create(disk, config, clock)
}

/// Makes the files of an empty log. `meta` comes last: a directory without it is not begun, and begun again.
fn create(disk: &dyn Disk, config: &EmbeddedConfig, clock: &dyn Clock) -> Result<Meta, OpenError> {
    let segments = disk.list(segment::DIR).map_err(OpenError::io("list segments/"))?;
    let first_bytes = SegmentHeader::bytes(config.partitions) as u64;
    if segments.iter().any(|entry| entry.name != "00000000000000000001.log" || entry.bytes > first_bytes) {
        return Err(OpenError::damaged(META, 0, "the file is missing, although there are segments"));
    }
    let making = || OpenError::io(format!("make a new log in {}", config.data_dir.display()));
    for dir in [segment::DIR, snapshot::DIR] {
        disk.create_dir(dir).map_err(making())?;
    }
    disk.sync_dir("").map_err(making())?;
    let meta = Meta {
        log: Ulid::generate(),
        epoch: LogEpoch(Ulid::generate()),
        partitions: config.partitions,
        created: clock.now(),
    };
    let header = SegmentHeader {
        id: 1,
        log: meta.log,
        previous_valid: 0,
        created: clock.now(),
        first_sequence: 1,
        form: Form::Appended,
        from: 1,
        offsets: vec![0; Topic::ALL.len() * config.partitions.len()],
    };
    header.create(disk).map_err(making())?;
    meta.write(disk).map_err(making())?;
    Ok(meta)
}
