//! The records of one append, encoded into one piece of memory.

use nimbus_core::Partition;
use rdkafka::message::{Headers as _, OwnedHeaders};

use crate::topic::{Topic, TopicRecord};

/// What librdkafka needs for a record besides its bytes, about; the broker's framing included.
const OVERHEAD: usize = 256;
/// What the broker adds to a record, at most: lengths, deltas, and the header of a batch of one.
const FRAMING: usize = 128;

/// How large a record is, as the broker counts it.
pub(crate) fn size_of<R: TopicRecord>(record: &R) -> usize {
    record.origin().client.as_str().len() + record.encoded_len() + FRAMING
}

#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    body: Vec<u8>,
    /// For each record where its key and its value end.
    ends: Vec<(usize, usize)>,
    /// Empty, or one for each record.
    headers: Vec<OwnedHeaders>,
}

impl Parcel {
    pub(crate) fn new<R: TopicRecord>(partition: Partition, records: &[R]) -> Self {
        let size = |record: &R| record.origin().client.as_str().len() + record.encoded_len();
        let mut body = Vec::with_capacity(records.iter().map(size).sum());
        let mut ends = Vec::with_capacity(records.len());
        let headers = records.iter().filter_map(TopicRecord::headers).collect();
        for record in records {
            body.extend_from_slice(record.origin().client.as_str().as_bytes());
            let key_end = body.len();
            record.encode(&mut body);
            ends.push((key_end, body.len()));
        }
        Self { topic: R::TOPIC, partition, body, ends, headers }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// For the budget.
    pub(crate) fn weight(&self) -> usize {
        self.body.len() + self.ends.len() * OVERHEAD
    }

    /// What is stored, without framing.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The largest record as the broker counts it.
    pub(crate) fn largest(&self) -> usize {
        let header_bytes = |at| self.headers(at).map_or(0, framed);
        let bytes = |(at, (key, value)): (usize, (&[u8], &[u8]))| key.len() + value.len() + header_bytes(at) + FRAMING;
        self.records().enumerate().map(bytes).max().unwrap_or(0)
    }

    /// Those of one record, if it has any.
    pub(crate) fn headers(&self, at: usize) -> Option<&OwnedHeaders> {
        self.headers.get(at)
    }

    /// Keys and values, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (key, end))| (&self.body[start..*key], &self.body[*key..*end]))
    }
}

/// What headers take, at most: a length of up to 5 bytes in front of each key and each value.
fn framed(headers: &OwnedHeaders) -> usize {
    headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 10).sum()
}
