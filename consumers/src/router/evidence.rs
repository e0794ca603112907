//! Whether the log still is the one that was folded into the mailbox (rule 16).

use nimbus_core::{
    Partition, Position,
    ports::{
        log::{LogError, ResultLog},
        mailbox::Landmark,
    },
};

/// What the log holds in the place of the last record that was folded in, in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// That record.
    Same,
    /// Another one, or the log ends before it: it was made anew, or it was cut and has grown again.
    Other,
    /// There is nothing to compare: nothing was folded in yet, or retention has passed the place. (A log that was made anew
    /// begins at 0: it cannot have.)
    None,
}

/// Looks for the last record that was folded in. Asks the log, once or twice.
///
/// # Errors
/// Those of [`range`](nimbus_core::ports::log::Log::range) and [`read`](nimbus_core::ports::log::Log::read).
pub async fn evidence(
    results: &ResultLog,
    partition: Partition,
    landmark: Option<Landmark>,
) -> Result<Evidence, LogError> {
    let Some(Landmark { position, fingerprint }) = landmark else { return Ok(Evidence::None) };
    let Some(offset) = position.0.checked_sub(1) else { return Ok(Evidence::None) };
    if position > results.range(partition).await?.end {
        return Ok(Evidence::Other);
    }
    match results.read(partition, Position(offset), 1).await {
        Ok(batch) => Ok(match batch.records.first() {
            Some(stored) if stored.offset.0 == offset && stored.record.fingerprint() == fingerprint => Evidence::Same,
            _ => Evidence::Other,
        }),
        Err(LogError::Expired { .. }) => Ok(Evidence::None),
        Err(error) => Err(error),
    }
}
