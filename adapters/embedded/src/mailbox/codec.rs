//! The mailbox's state as bytes: claim changes for the journal, and snapshots.
//!
//! Little-endian, lengths in front, a format number first. The journal and the snapshot file carry their own checksums, so
//! a failure here is a bug or a newer version, never bit rot.

use std::collections::BTreeSet;

use nimbus_core::{
    ClientId, InvalidId, OutboxId, Partition, Position, PrincipalId,
    clock::UnixMillis,
    mailbox::{ClaimChange, ClaimImage, ClientSnapshot, OutboxClaim, OutboxFold, PartitionSnapshot},
};

use crate::state::UnreadableState;

/// Of both layouts. Raise it when a reader of the old one would misunderstand the new one.
const FORMAT: u8 = 1;

const IMAGE: u8 = 1;
const KEPT: u8 = 2;

/// Changes of one call, as one journal record.
pub(super) fn encode_changes(changes: &[(Partition, ClaimChange)]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(1 + 256 * changes.len().min(64)));
    out.u8(FORMAT);
    out.u32(changes.len() as u32);
    for (partition, change) in changes {
        out.u32(partition.0);
        match change {
            ClaimChange::Image(image) => {
                out.u8(IMAGE);
                out.image(image);
            }
            ClaimChange::Kept { version, client, position } => {
                out.u8(KEPT);
                out.u64(*version);
                out.text(client.as_str());
                out.u64(position.0);
            }
        }
    }
    out.0
}

pub(super) fn decode_changes(bytes: &[u8]) -> Result<Vec<(Partition, ClaimChange)>, UnreadableState> {
    let mut reader = Reader::open(bytes)?;
    let count = reader.u32()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        let partition = Partition(reader.u32()?);
        let change = match reader.u8()? {
            IMAGE => ClaimChange::Image(Box::new(reader.image()?)),
            KEPT => ClaimChange::Kept {
                version: reader.u64()?,
                client: reader.client()?,
                position: Position(reader.u64()?),
            },
            other => return Err(UnreadableState(format!("claim change of unknown kind {other}"))),
        };
        changes.push((partition, change));
    }
    reader.end()?;
    Ok(changes)
}

/// A snapshot of all partitions, written one partition at a time.
#[derive(Debug)]
pub(super) struct SnapshotWriter(Writer);

impl SnapshotWriter {
    pub(super) fn new(partitions: usize) -> Self {
        let mut out = Writer(Vec::new());
        out.u8(FORMAT);
        out.u32(partitions as u32);
        Self(out)
    }

    pub(super) fn partition(&mut self, partition: Partition, snapshot: &PartitionSnapshot) {
        let out = &mut self.0;
        out.u32(partition.0);
        out.u64(snapshot.version);
        out.u64(snapshot.applied.0);
        out.u64(snapshot.floor.0);
        out.u32(snapshot.clients.len() as u32);
        for client in &snapshot.clients {
            out.image(&client.claims);
            out.u64(client.last.0);
            out.u32(client.fold.len() as u32);
            for (outbox, known) in &client.fold {
                out.fold(*outbox, known);
            }
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.0
    }
}

pub(super) fn decode_snapshot(bytes: &[u8]) -> Result<Vec<(Partition, PartitionSnapshot)>, UnreadableState> {
    let mut reader = Reader::open(bytes)?;
    let count = reader.u32()?;
    let mut partitions = Vec::new();
    for _ in 0..count {
        let partition = Partition(reader.u32()?);
        let mut snapshot = PartitionSnapshot {
            version: reader.u64()?,
            applied: Position(reader.u64()?),
            floor: Position(reader.u64()?),
            clients: Vec::new(),
        };
        for _ in 0..reader.u32()? {
            let claims = reader.image()?;
            let last = Position(reader.u64()?);
            let outboxes = reader.u32()?;
            let fold = (0..outboxes).map(|_| reader.fold()).collect::<Result<_, _>>()?;
            snapshot.clients.push(ClientSnapshot { claims, last, fold });
        }
        partitions.push((partition, snapshot));
    }
    reader.end()?;
    Ok(partitions)
}

#[derive(Debug)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// At most 128 bytes, as ids are.
    fn text(&mut self, text: &str) {
        self.u8(text.len() as u8);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn outbox(&mut self, claim: &OutboxClaim) {
        self.0.extend_from_slice(claim.outbox.as_bytes());
        self.u64(claim.session_no);
        self.u64(claim.start.0);
    }

    fn image(&mut self, image: &ClaimImage) {
        self.u64(image.version);
        self.text(image.client.as_str());
        // No principal is empty, so an empty one means none.
        self.text(image.principal.as_ref().map_or("", PrincipalId::as_str));
        self.0.extend_from_slice(&image.token);
        self.u8(u8::from(image.current.is_some()));
        if let Some(current) = &image.current {
            self.outbox(current);
        }
        self.u8(image.retired.len() as u8);
        image.retired.iter().for_each(|retired| self.outbox(retired));
        self.u8(u8::from(image.kept.is_some()));
        if let Some(kept) = image.kept {
            self.u64(kept.0);
        }
        self.u64(image.floor.0);
        self.u64(image.touched.0);
    }

    fn fold(&mut self, outbox: OutboxId, known: &OutboxFold) {
        self.0.extend_from_slice(outbox.as_bytes());
        self.u64(known.answered);
        self.u64(known.jobs_floor);
        self.u64(known.last_result.0);
        self.u64(known.last_event.0);
        self.u64(known.last_seen.0);
        let jobs = known.jobs.as_deref();
        self.u32(jobs.map_or(0, BTreeSet::len) as u32);
        jobs.into_iter().flatten().for_each(|seq| self.u64(*seq));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, UnreadableState> {
        let mut reader = Self(bytes);
        match reader.u8()? {
            FORMAT => Ok(reader),
            other => Err(UnreadableState(format!("mailbox state has format {other}; this version reads {FORMAT}"))),
        }
    }

    fn end(&self) -> Result<(), UnreadableState> {
        match self.0.len() {
            0 => Ok(()),
            rest => Err(UnreadableState(format!("mailbox state has {rest} bytes too many"))),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], UnreadableState> {
        let (taken, rest) =
            self.0.split_at_checked(bytes).ok_or_else(|| UnreadableState("mailbox state ends too early".to_owned()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnreadableState> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, UnreadableState> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, UnreadableState> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, UnreadableState> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, UnreadableState> {
        let len = self.u8()?;
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map_err(|_| UnreadableState("mailbox state has an id that is not text".to_owned()))
    }

    fn client(&mut self) -> Result<ClientId, UnreadableState> {
        ClientId::try_new(self.text()?).map_err(bad_id)
    }

    fn outbox(&mut self) -> Result<OutboxClaim, UnreadableState> {
        Ok(OutboxClaim { outbox: OutboxId::new(self.array()?), session_no: self.u64()?, start: Position(self.u64()?) })
    }

    fn image(&mut self) -> Result<ClaimImage, UnreadableState> {
        let version = self.u64()?;
        let client = self.client()?;
        let principal = match self.text()? {
            "" => None,
            principal => Some(PrincipalId::try_new(principal).map_err(bad_id)?),
        };
        let token = self.array()?;
        let current = if self.u8()? == 0 { None } else { Some(self.outbox()?) };
        let retired = self.u8()?;
        let retired = (0..retired).map(|_| self.outbox()).collect::<Result<_, _>>()?;
        let kept = if self.u8()? == 0 { None } else { Some(Position(self.u64()?)) };
        let (floor, touched) = (Position(self.u64()?), UnixMillis(self.u64()?));
        Ok(ClaimImage { version, client, principal, token, current, retired, kept, floor, touched })
    }

    fn fold(&mut self) -> Result<(OutboxId, OutboxFold), UnreadableState> {
        let outbox = OutboxId::new(self.array()?);
        let mut known = OutboxFold {
            answered: self.u64()?,
            jobs_floor: self.u64()?,
            jobs: None,
            last_result: Position(self.u64()?),
            last_event: Position(self.u64()?),
            last_seen: UnixMillis(self.u64()?),
        };
        let jobs = self.u32()?;
        if jobs > 0 {
            known.jobs = Some(Box::new((0..jobs).map(|_| self.u64()).collect::<Result<_, _>>()?));
        }
        Ok((outbox, known))
    }
}

fn bad_id(error: InvalidId) -> UnreadableState {
    UnreadableState(format!("mailbox state has a bad id: {error}"))
}
