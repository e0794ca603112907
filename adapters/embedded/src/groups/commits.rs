//! Commits as bytes: the state records and the snapshot of the consumer groups.

use bytes::{Buf, BufMut, Bytes};
use nimbus_core::{GroupId, Partition, Position, ports::log::Committed};

use super::GroupKey;
use crate::{state::UnreadableState, topic::Topic};

const ONE: u8 = 1;
const WHOLE: u8 = 2;
const FORGOTTEN: u8 = 3;
const SNAPSHOT_VERSION: u8 = 1;

/// One state record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    One(GroupKey, Partition, Committed),
    Whole(GroupKey, Vec<Committed>),
    Forgotten(GroupKey),
}

pub(super) fn one(key: &GroupKey, partition: Partition, committed: &Committed) -> Vec<u8> {
    let mut out = vec![ONE];
    put_key(&mut out, key);
    out.put_u32_le(partition.0);
    put_committed(&mut out, committed);
    out
}

pub(super) fn whole_group(key: &GroupKey, committed: &[Committed]) -> Vec<u8> {
    let mut out = vec![WHOLE];
    put_group(&mut out, key, committed);
    out
}

pub(super) fn forgotten(key: &GroupKey) -> Vec<u8> {
    let mut out = vec![FORGOTTEN];
    put_key(&mut out, key);
    out
}

pub(super) fn all<'a>(groups: impl ExactSizeIterator<Item = (&'a GroupKey, &'a [Committed])>) -> Vec<u8> {
    let mut out = vec![SNAPSHOT_VERSION];
    out.put_u32_le(groups.len() as u32);
    groups.for_each(|(key, committed)| put_group(&mut out, key, committed));
    out
}

fn put_group(out: &mut Vec<u8>, key: &GroupKey, committed: &[Committed]) {
    put_key(out, key);
    committed.iter().for_each(|committed| put_committed(out, committed));
}

fn put_key(out: &mut Vec<u8>, (topic, group): &GroupKey) {
    out.put_u8(*topic as u8);
    // Ids have at most 128 bytes.
    out.put_u8(group.as_str().len() as u8);
    out.put_slice(group.as_str().as_bytes());
}

fn put_committed(out: &mut Vec<u8>, committed: &Committed) {
    out.put_u64_le(committed.position.0);
    out.put_u32_le(committed.metadata.len() as u32);
    out.put_slice(&committed.metadata);
}

pub(super) fn read(mut record: &[u8], partitions: usize) -> Result<Record, UnreadableState> {
    let record = &mut record;
    let parsed = match record.try_get_u8() {
        Ok(ONE) => key(record).and_then(|key| {
            let partition = record.try_get_u32_le().ok().filter(|partition| (*partition as usize) < partitions)?;
            Some(Record::One(key, Partition(partition), committed(record)?))
        }),
        Ok(WHOLE) => group(record, partitions).map(|(key, committed)| Record::Whole(key, committed)),
        Ok(FORGOTTEN) => key(record).map(Record::Forgotten),
        _ => None,
    };
    parsed.filter(|_| record.is_empty()).ok_or_else(|| UnreadableState("a commit of a consumer group".into()))
}

pub(super) fn read_all(
    mut snapshot: &[u8],
    partitions: usize,
) -> Result<Vec<(GroupKey, Vec<Committed>)>, UnreadableState> {
    let snapshot = &mut snapshot;
    let mut parse = || {
        snapshot.try_get_u8().ok().filter(|version| *version == SNAPSHOT_VERSION)?;
        let count = snapshot.try_get_u32_le().ok()?;
        (0..count).map(|_| group(snapshot, partitions)).collect()
    };
    let groups: Option<Vec<_>> = parse();
    groups.filter(|_| snapshot.is_empty()).ok_or_else(|| UnreadableState("the snapshot of the consumer groups".into()))
}

fn group(from: &mut &[u8], partitions: usize) -> Option<(GroupKey, Vec<Committed>)> {
    let key = key(from)?;
    let committed = (0..partitions).map(|_| committed(from)).collect::<Option<_>>()?;
    Some((key, committed))
}

fn key(from: &mut &[u8]) -> Option<GroupKey> {
    let topic = Topic::from_number(from.try_get_u8().ok()?)?;
    let length = from.try_get_u8().ok()?;
    let text = from.split_off(..usize::from(length))?;
    Some((topic, GroupId::try_new(str::from_utf8(text).ok()?).ok()?))
}

fn committed(from: &mut &[u8]) -> Option<Committed> {
    let position = Position(from.try_get_u64_le().ok()?);
    let length = from.try_get_u32_le().ok()?;
    let metadata = from.split_off(..usize::try_from(length).ok()?)?;
    Some(Committed { position, metadata: Bytes::copy_from_slice(metadata) })
}
