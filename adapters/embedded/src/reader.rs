//! Reads records: from memory when they are recent, else from the segment files on a blocking thread.

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{
    Offset, Partition, Position,
    ports::log::{Batch, LogError, Stored},
};

use crate::{
    body::{self, RecordsOf},
    frame::{HEADER_BYTES, Header, Kind},
    segment,
    shared::{Shared, Shelved},
    shelf::{Found, FrameAt, within},
};

/// Reads records of one partition from `from` on, up to about `max_bytes`. Empty at the end of the log.
pub(crate) async fn read<R: Shelved>(
    shared: &Arc<Shared>,
    partition: Partition,
    from: Position,
    max_bytes: usize,
) -> Result<Batch<R>, LogError> {
    shared.open()?;
    let shelf = &R::shelves(&shared.shelves)[partition.0 as usize];
    let mut looked_at = None;
    loop {
        let frames = match shelf.find(from, max_bytes) {
            Found::AtEnd => return Ok(Batch { partition, from, records: Arc::new([]), next: from, provisional: None }),
            Found::Expired(start) => return Err(LogError::Expired { partition, wanted: from, start }),
            Found::Recent { records, next } => {
                shared.metrics.tail_hits.inc();
                return Ok(Batch { partition, from, records, next, provisional: None });
            }
            Found::OnDisk(frames) => frames,
        };
        match looked_at {
            Some((seen, error)) if seen == frames => return Err(error),
            // It lies elsewhere now: retention was at work.
            Some(_) | None => {}
        }
        shared.metrics.tail_misses.inc();
        let (reading, places) = (Arc::clone(shared), frames.clone());
        let read = move || load(&reading, partition, from, max_bytes, &places);
        match tokio::task::spawn_blocking(read).await {
            Ok(Err(error @ (LogError::Damaged(_) | LogError::Expired { .. }))) => looked_at = Some((frames, error)),
            Ok(outcome) => return outcome,
            // The runtime is going down, or reading panicked: either way it was not read.
            Err(error) => return Err(LogError::Unavailable(error.to_string())),
        }
    }
}

fn load<R: Shelved>(
    shared: &Shared,
    partition: Partition,
    from: Position,
    max_bytes: usize,
    frames: &[FrameAt],
) -> Result<Batch<R>, LogError> {
    let mut records = Vec::new();
    let mut next = from;
    for frame in frames {
        let Some(body) = frame_body(shared, frame)? else {
            // Retention deleted it after it was looked up.
            let start = R::shelves(&shared.shelves)[partition.0 as usize].range().start;
            return if records.is_empty() {
                Err(LogError::Expired { partition, wanted: from, start })
            } else {
                break_off(partition, from, next, records)
            };
        };
        let wrong = |what: String| damaged(frame, &what);
        let mut count = 0;
        for (offset, record) in (frame.base..).map(Offset).zip(RecordsOf(body)) {
            let record = record.map_err(|_| wrong("the lengths of its records do not add up".into()))?;
            count += 1;
            if from.covers(offset) || body::is_erased(&record) {
                continue;
            }
            let record = R::decode(&record).map_err(|why| wrong(format!("record {offset}: {why}")))?;
            records.push(Stored { offset, record });
        }
        if count != frame.count {
            return Err(wrong(format!("it holds {count} records instead of {}", frame.count)));
        }
        next = Position(frame.base + u64::from(frame.count));
    }
    let fitting = within(&records, max_bytes).len();
    if fitting < records.len() {
        records.truncate(fitting);
        next = records.last().map_or(next, |last| last.offset.position_after());
    }
    break_off(partition, from, next, records)
}

fn break_off<R: Shelved>(
    partition: Partition,
    from: Position,
    next: Position,
    records: Vec<Stored<R>>,
) -> Result<Batch<R>, LogError> {
    Ok(Batch { partition, from, records: records.into(), next, provisional: None })
}

/// `None`: its segment is gone.
fn frame_body(shared: &Shared, frame: &FrameAt) -> Result<Option<Bytes>, LogError> {
    let Some(segment) = shared.segments.get(frame.segment) else { return Ok(None) };
    let mut bytes = vec![0; frame.bytes as usize];
    let read = segment.file.read_at(&mut bytes, u64::from(frame.at));
    let read = read.map_err(|error| LogError::Unavailable(format!("{}: {error}", segment::path(frame.segment))))?;
    bytes.truncate(read);
    let header = Header::decode(&bytes, shared.salt).map_err(|why| damaged(frame, &why.to_string()))?;
    let body = Bytes::from(bytes).slice(HEADER_BYTES..);
    let is_it = matches!(header.kind, Kind::Records(_)) && header.base == frame.base && header.vouches_for(&body);
    if is_it { Ok(Some(body)) } else { Err(damaged(frame, "the frame is not the one that was written here")) }
}

fn damaged(frame: &FrameAt, what: &str) -> LogError {
    LogError::Damaged(format!("{} at byte {}: {what}", segment::path(frame.segment), frame.at))
}
