//! Which partition a client's events and results live in.
//!
//! The hash is murmur2 with the seed and sign handling of Kafka's Java clients, so that a foreign producer that uses
//! their default partitioner puts a client's record where Nimbus expects it. (librdkafka's default differs.)
//! Source of the algorithm: Austin Appleby's MurmurHash2, public domain; seed and masking as documented for
//! `org.apache.kafka.common.utils.Utils.murmur2`.

use std::{fmt, num::NonZeroU32};

use crate::id::ClientId;

/// One partition: the same number in the events log and in the results log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How many partitions both logs have. Pinned for the life of a log epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(pub NonZeroU32);

impl PartitionCount {
    /// The partition of a client.
    pub fn partition_of(self, client: &ClientId) -> Partition {
        Partition((murmur2(client.as_str().as_bytes()) & 0x7fff_ffff) % self.0.get())
    }

    /// Every partition, in order.
    pub fn all(self) -> impl Iterator<Item = Partition> + Clone {
        (0..self.0.get()).map(Partition)
    }

    /// The count as an index bound.
    #[allow(clippy::len_without_is_empty, reason = "there is always at least one partition")]
    pub fn len(self) -> usize {
        self.0.get() as usize
    }
}

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Kafka's own unit tests expect of its `murmur2`.
    #[test]
    fn agrees_with_kafkas_java_clients() {
        let expected: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in expected {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
