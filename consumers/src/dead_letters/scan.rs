//! Reading the log of dead letters from its beginning to where it ended when the reading began.
//!
//! Letters are few and reading them is no hot path, so there is no index: each command reads what there is, one partition
//! after the other, and keeps some hundred bytes for each letter. Contents are fetched one by one when they are needed.

use std::collections::BTreeSet;

use nimbus_core::{
    Partition, Position,
    ports::log::{Batch, DeadLetterLog, LogError},
    result::DeadLetter,
};

use super::{
    error::DeadLettersError,
    filter::Filter,
    ledger::Ledger,
    letter::{Letter, LetterId},
};

/// What is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// What a [`scan`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The oldest first, by the time of their failure.
    pub letters: Vec<Letter>,
    /// How many there are, beyond the limit too.
    pub matching: usize,
}

/// Lists the letters that a filter means, at most `limit` of them, the oldest first. Cancel safe.
///
/// # Errors
/// [`DeadLettersError::Read`].
pub async fn scan(log: &DeadLetterLog, filter: &Filter, limit: usize) -> Result<Found, DeadLettersError> {
    let partitions = log.partitions();
    let only = filter.client.as_ref().map(|client| partitions.partition_of(client));
    let mut letters = Vec::new();
    for partition in partitions.all().filter(|partition| only.is_none_or(|only| only == *partition)) {
        let all = read(log, partition).await.map_err(DeadLettersError::Read)?;
        letters.extend(all.into_iter().filter(|letter| filter.matches(letter)));
    }
    letters.sort_by_key(|letter| (letter.failed, letter.id));
    let matching = letters.len();
    letters.truncate(limit);
    Ok(Found { letters, matching })
}

/// Finds letters by their names, whatever became of them; each once, also if it was named twice. Cancel safe.
///
/// # Errors
/// [`DeadLettersError::Unknown`] with every name that is none; [`DeadLettersError::Read`].
pub async fn find(log: &DeadLetterLog, ids: &[LetterId]) -> Result<Vec<Letter>, DeadLettersError> {
    let mut wanted: BTreeSet<LetterId> = ids.iter().copied().collect();
    let partitions: BTreeSet<Partition> = wanted.iter().map(|id| id.partition).collect();
    let mut letters = Vec::new();
    for partition in log.partitions().all().filter(|partition| partitions.contains(partition)) {
        for letter in read(log, partition).await.map_err(DeadLettersError::Read)? {
            let before = wanted.len();
            wanted.retain(|id| !letter.is_at(*id));
            if wanted.len() < before {
                letters.push(letter);
            }
        }
    }
    if wanted.is_empty() { Ok(letters) } else { Err(DeadLettersError::Unknown(wanted.into_iter().collect())) }
}

/// Reads one letter with its content; `None` when retention has passed it meanwhile, or it was erased. Cancel safe.
///
/// # Errors
/// [`DeadLettersError::Read`].
pub async fn fetch(log: &DeadLetterLog, letter: &Letter) -> Result<Option<DeadLetter>, DeadLettersError> {
    let places = [letter.id.offset].into_iter().chain(letter.copies.iter().copied());
    for offset in places {
        match log.read(letter.id.partition, Position(offset.0), 1).await {
            Ok(batch) => {
                if let Some(stored) = batch.records.first().filter(|stored| stored.offset == offset) {
                    return Ok(Some(stored.record.clone()));
                }
            }
            Err(LogError::Expired { .. }) => {}
            Err(error) => return Err(DeadLettersError::Read(error)),
        }
    }
    Ok(None)
}

/// Everything that one partition says.
async fn read(log: &DeadLetterLog, partition: Partition) -> Result<Vec<Letter>, LogError> {
    let range = log.range(partition).await?;
    let (mut from, mut ledger) = (range.start, Ledger::new(partition));
    while from < range.end {
        match log.read(partition, from, READ_BYTES).await {
            // Nothing there, although there should be: it is gone, and so is what lies before.
            Ok(Batch { next, .. }) if next <= from => break,
            Ok(Batch { records, next, .. }) => {
                records.iter().for_each(|stored| ledger.admit(stored));
                from = next;
            }
            // Retention was faster; what it passed is not there to be listed any more.
            Err(LogError::Expired { start, .. }) if start > from => from = start,
            Err(error) => return Err(error),
        }
    }
    Ok(ledger.into_letters())
}
