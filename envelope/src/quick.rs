//! Reading a record in the form in which this build writes it, without building the message first.
//!
//! Over Kafka and Redis every record is read three times, and most of what that took was texts made for the message, copied
//! into the record and thrown away. Here texts are borrowed, and what a record has in common with the one before it on this thread
//! (mostly its origin and its name) is shared with that one.
//!
//! Only for what is common: fields in ascending order, each at most once, and none of attributes, refusals and failures. Any other
//! form, and everything that is wrong, is for the generated types: they alone say what an error is.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use nimbus_core::{
    Attributes, ClientId, ContentType, Event, EventName, Offset, Origin, OutboxId, PrincipalId, ResultRecord,
    clock::UnixMillis,
};

use crate::{
    VERSION,
    decode::{kind, lane},
};

/// Not in that form: ask the generated types.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Other;

/// What the last record of this thread had.
#[derive(Default)]
struct Last {
    /// As it was stored, and what it says.
    origin: Option<(Vec<u8>, Arc<Origin>)>,
    name: Option<EventName>,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// A field's value.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}
use Value::{Bytes as Blob, Number};

/// The fields of a message, in ascending order.
struct Fields<'a> {
    rest: &'a [u8],
    last: u64,
}

impl<'a> Fields<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self { rest: message, last: 0 }
    }

    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Other> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = key >> 3;
        if field <= self.last {
            return Err(Other);
        }
        self.last = field;
        let value = match key & 7 {
            0 => Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Other)?;
                let (value, rest) = self.rest.split_at_checked(length).ok_or(Other)?;
                self.rest = rest;
                Blob(value)
            }
            _ => return Err(Other),
        };
        Ok(Some((field, value)))
    }

    fn varint(&mut self) -> Result<u64, Other> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if at == 10 || at == 9 && bits > 1 {
                return Err(Other);
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Other)
    }
}

fn small(number: u64) -> Result<u32, Other> {
    u32::try_from(number).map_err(|_| Other)
}

fn text(bytes: &[u8]) -> Result<&str, Other> {
    str::from_utf8(bytes).map_err(|_| Other)
}

/// The origin, shared with the last record's if that is the same.
fn origin(stored: &[u8], last: &mut Last) -> Result<Arc<Origin>, Other> {
    if let Some((same, origin)) = &last.origin
        && same == stored
    {
        return Ok(Arc::clone(origin));
    }
    let (mut client, mut principal, mut outbox) = (&[][..], &[][..], &[][..]);
    let mut fields = Fields::of(stored);
    while let Some(field) = fields.next()? {
        match field {
            (1, Blob(value)) => client = value,
            (2, Blob(value)) => principal = value,
            (3, Blob(value)) => outbox = value,
            _ => return Err(Other),
        }
    }
    let origin = Arc::new(Origin {
        client: ClientId::try_new(text(client)?).map_err(|_| Other)?,
        principal: PrincipalId::try_new(text(principal)?).map_err(|_| Other)?,
        outbox: OutboxId::try_new(outbox).map_err(|_| Other)?,
    });
    last.origin = Some((stored.to_vec(), Arc::clone(&origin)));
    Ok(origin)
}

/// The name, shared in the same way.
fn name(stored: &[u8], last: &mut Last) -> Result<EventName, Other> {
    if let Some(name) = &last.name
        && name.as_str().as_bytes() == stored
    {
        return Ok(name.clone());
    }
    let name = EventName::try_new(text(stored)?).map_err(|_| Other)?;
    last.name = Some(name.clone());
    Ok(name)
}

fn is_this_version(version: u64) -> Result<(), Other> {
    if version == u64::from(VERSION) { Ok(()) } else { Err(Other) }
}

pub(crate) fn event(stored: &[u8]) -> Result<Event, Other> {
    let (mut version, mut seq, mut deadline, mut received, mut replay_no) = (0, 0, 0, 0, 0);
    let (mut from, mut named, mut payload) = (None, &[][..], &[][..]);
    let (mut content_type, mut traceparent, mut edge_context) = (&[][..], &[][..], &[][..]);
    let mut fields = Fields::of(stored);
    while let Some(field) = fields.next()? {
        match field {
            (1, Number(value)) => version = value,
            (2, Blob(value)) => from = Some(value),
            (3, Number(value)) => seq = value,
            (4, Blob(value)) => named = value,
            (5, Blob(value)) => payload = value,
            (6, Blob(value)) => content_type = value,
            (8, Number(value)) => deadline = value,
            (9, Blob(value)) => traceparent = value,
            (10, Number(value)) => received = value,
            (11, Number(value)) => replay_no = small(value)?,
            (13, Blob(value)) => edge_context = value,
            _ => return Err(Other),
        }
    }
    is_this_version(version)?;
    LAST.with_borrow_mut(|last| {
        Ok(Event {
            origin: origin(from.ok_or(Other)?, last)?,
            seq,
            name: name(named, last)?,
            payload: Bytes::copy_from_slice(payload),
            content_type: ContentType::new(text(content_type)?),
            attributes: Attributes::new(),
            deadline: (deadline > 0).then_some(UnixMillis(deadline)),
            traceparent: text(traceparent)?.to_owned(),
            received: UnixMillis(received),
            replay_no,
            refused: None,
            edge_context: Bytes::copy_from_slice(edge_context),
        })
    })
}

pub(crate) fn result(stored: &[u8]) -> Result<ResultRecord, Other> {
    let (mut version, mut seq, mut event_offset, mut produced) = (0, 0, 0, 0);
    let (mut attempt, mut part_no, mut replay_no, mut part, mut of_lane) = (0, 0, 0, 0, 0);
    let (mut from, mut named, mut payload) = (None, &[][..], &[][..]);
    let (mut content_type, mut edge_context) = (&[][..], &[][..]);
    let mut fields = Fields::of(stored);
    while let Some(field) = fields.next()? {
        match field {
            (1, Number(value)) => version = value,
            (2, Blob(value)) => from = Some(value),
            (3, Number(value)) => seq = value,
            (4, Blob(value)) => named = value,
            (5, Number(value)) => attempt = small(value)?,
            (6, Number(value)) => part_no = small(value)?,
            (7, Number(value)) => replay_no = small(value)?,
            (8, Number(value)) => part = i32::try_from(value).map_err(|_| Other)?,
            (9, Number(value)) => of_lane = i32::try_from(value).map_err(|_| Other)?,
            (10, Blob(value)) => payload = value,
            (11, Blob(value)) => content_type = value,
            (14, Number(value)) => event_offset = value,
            (15, Number(value)) => produced = value,
            (16, Blob(value)) => edge_context = value,
            _ => return Err(Other),
        }
    }
    is_this_version(version)?;
    LAST.with_borrow_mut(|last| {
        Ok(ResultRecord {
            origin: origin(from.ok_or(Other)?, last)?,
            seq,
            event_name: name(named, last)?,
            attempt,
            part_no,
            replay_no,
            kind: kind(part).map_err(|_| Other)?,
            lane: lane(of_lane).map_err(|_| Other)?,
            payload: Bytes::copy_from_slice(payload),
            content_type: ContentType::new(text(content_type)?),
            attributes: Attributes::new(),
            failure: None,
            event_offset: Offset(event_offset),
            produced: UnixMillis(produced),
            edge_context: Bytes::copy_from_slice(edge_context),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;
    use crate::{
        Envelope, EnvelopeError, decode,
        tests::{events, results},
    };

    type Changes = Vec<(Index, u8, u8)>;

    fn written<R: Envelope>(record: &R) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    /// Some bytes are others, some are gone, some stand twice.
    fn changed(mut bytes: Vec<u8>, changes: &Changes) -> Vec<u8> {
        for (index, how, byte) in changes {
            let at = index.index(bytes.len() + 1).min(bytes.len());
            match how % 3 {
                0 if at < bytes.len() => bytes[at] = *byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, *byte),
            }
        }
        bytes
    }

    fn changes() -> impl Strategy<Value = Changes> {
        vec((any::<Index>(), any::<u8>(), any::<u8>()), 0..4)
    }

    /// What is read quickly is what the generated types read, whatever was changed in between; and what is common is read quickly.
    fn is_read_alike<R: Envelope + PartialEq + Debug>(
        record: R,
        is_common: bool,
        changes: &Changes,
        quick: fn(&[u8]) -> Result<R, Other>,
        generated: fn(&[u8]) -> Result<R, EnvelopeError>,
    ) -> Result<(), TestCaseError> {
        let bytes = written(&record);
        prop_assert_eq!(quick(&bytes), if is_common { Ok(record) } else { Err(Other) });
        let bytes = changed(bytes, changes);
        if let Ok(quick) = quick(&bytes) {
            prop_assert_eq!(Ok(quick), generated(&bytes).map_err(|error| error.to_string()));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn an_event_is_read_as_the_generated_types_read_it(event in events(), changes in changes()) {
            let is_common = event.attributes.is_empty() && event.refused.is_none();
            is_read_alike(event, is_common, &changes, super::event, decode::generated_event)?;
        }

        #[test]
        fn a_result_is_read_as_the_generated_types_read_it(result in results(), changes in changes()) {
            let is_common = result.attributes.is_empty() && result.failure.is_none();
            is_read_alike(result, is_common, &changes, super::result, decode::generated_result)?;
        }

        /// Records of different clients one after the other: nothing of one shows up in another.
        #[test]
        fn what_is_shared_is_the_same(some in vec((results(), any::<bool>()), 1..8)) {
            for (result, twice) in some {
                for _ in 0..=usize::from(twice) {
                    prop_assert_eq!(&ResultRecord::decode(&written(&result)).unwrap(), &result);
                }
            }
        }
    }

    #[test]
    fn records_of_one_client_share_its_origin() {
        let read = |bytes: &[u8]| super::event(bytes).unwrap();
        let bytes = b"\x08\x01\x12\x1a\x0a\x03bob\x12\x01p\x1a\x10aaaaaaaaaaaaaaaa\x18\x07\x22\x02sq";
        let (one, two) = (read(bytes), read(bytes));
        assert!(Arc::ptr_eq(&one.origin, &two.origin));
        assert_eq!((one.origin.client.as_str(), one.seq, one.name.as_str()), ("bob", 7, "sq"));
    }
}
