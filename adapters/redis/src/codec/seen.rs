//! What the router knows of a client: its answered events, and how much of its mailbox is where.
//!
//! Answered jobs are stored as runs: nearly all of them are neighbours, and this is written with every batch.

use std::collections::BTreeSet;

use bytes::Bytes;
use nimbus_core::{
    OutboxId, Position,
    clock::UnixMillis,
    mailbox::{Fold, JOBS_WINDOW, OutboxFold},
};

use super::{Reader, Unreadable, Writer};
use crate::backlog::Backlog;

const VERSION: u8 = 1;
const WHAT: &str = "a client's answered events";

/// What is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Past the last result of the client.
    pub(crate) last: Position,
    pub(crate) fold: Fold,
    pub(crate) backlog: Backlog,
}

pub(crate) fn encode(seen: &Seen) -> Bytes {
    let mut out = Writer::new(VERSION);
    out.position(seen.last);
    seen.backlog.encode(&mut out);
    out.number(seen.fold.outboxes().len() as u64);
    for (outbox, known) in seen.fold.outboxes() {
        out.raw(outbox.as_bytes());
        out.number(known.answered);
        out.number(known.jobs_floor);
        out.position(known.last_result);
        out.position(known.last_event);
        out.number(known.last_seen.0);
        runs(&mut out, known.jobs.as_deref());
    }
    out.0.into()
}

/// The number of runs; then for each the distance to the end of the one before, and its length.
fn runs(out: &mut Writer, jobs: Option<&BTreeSet<u64>>) {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for job in jobs.into_iter().flatten() {
        match runs.last_mut() {
            Some((first, len)) if *first + *len == *job => *len += 1,
            _ => runs.push((*job, 1)),
        }
    }
    out.number(runs.len() as u64);
    let mut end = 0;
    for (first, len) in runs {
        out.number(first - end);
        out.number(len);
        end = first + len;
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Seen, Unreadable> {
    let mut reader = Reader::open(WHAT, VERSION, bytes)?;
    let last = reader.position()?;
    let backlog = Backlog::decode(&mut reader)?;
    let outboxes = reader.count()?;
    let mut fold = Vec::new();
    for _ in 0..outboxes {
        let outbox = OutboxId::new(reader.array()?);
        let known = OutboxFold {
            answered: reader.number()?,
            jobs_floor: reader.number()?,
            last_result: reader.position()?,
            last_event: reader.position()?,
            last_seen: UnixMillis(reader.number()?),
            jobs: read_runs(&mut reader)?,
        };
        fold.push((outbox, known));
    }
    reader.end()?;
    Ok(Seen { last, fold: Fold::restore(fold), backlog })
}

fn read_runs(reader: &mut Reader<'_>) -> Result<Option<Box<BTreeSet<u64>>>, Unreadable> {
    let count = reader.count()?;
    let (mut jobs, mut end) = (BTreeSet::new(), 0_u64);
    for _ in 0..count {
        let (gap, len) = (reader.number()?, reader.number()?);
        let first = end.checked_add(gap);
        let past = first.and_then(|first| first.checked_add(len));
        let (Some(first), Some(past)) = (first, past) else { return Err(reader.damaged("jobs are numbered too high")) };
        if len as usize > JOBS_WINDOW || jobs.len() + len as usize > JOBS_WINDOW {
            return Err(reader.damaged("more jobs than are ever remembered"));
        }
        jobs.extend(first..past);
        end = past;
    }
    Ok((count > 0).then(|| Box::new(jobs)))
}
