//! Tells whether a record is still the one that it was: topics that were made anew use the same offsets for others.
//!
//! FNV-1a over key, value and timestamp, so that it stays the same over builds and machines. It guards against accidents,
//! not against forgers.

use rdkafka::{Message, message::BorrowedMessage};

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn fold(hash: u64, bytes: &[u8]) -> u64 {
    // The length first: where one part ends and the next begins counts.
    let length = (bytes.len() as u64).to_le_bytes();
    length.iter().chain(bytes).fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn of(key: &[u8], value: &[u8], timestamp: i64) -> u64 {
    fold(fold(fold(BASIS, key), value), &timestamp.to_le_bytes())
}

pub(crate) fn of_message(message: &BorrowedMessage<'_>) -> u64 {
    let timestamp = message.timestamp().to_millis().unwrap_or(-1);
    of(message.key().unwrap_or_default(), message.payload().unwrap_or_default(), timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_depends_on_each_part_and_never_changes() {
        let base = of(b"client", b"value", 17);
        assert_eq!(base, of(b"client", b"value", 17));
        for other in [of(b"clienT", b"value", 17), of(b"client", b"valu", 17), of(b"client", b"value", 18)] {
            assert_ne!(base, other);
        }
        assert_ne!(of(b"ab", b"c", 0), of(b"a", b"bc", 0));
        // Stored in other places: it must be the same in every build.
        assert_eq!(of(b"", b"", 0), 0x8472_beb8_e633_b7ad);
    }
}
