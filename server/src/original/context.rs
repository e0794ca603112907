//! What an answer of the original protocol must repeat of its request. It travels with the event and its results as the
//! edge's own context, since the answer may go out on another stream, or from another server.
//!
//! Layout: number (4 bytes), client sequence (8 bytes), both little endian; then the event name as it was given, where
//! it broke the rules.

use bytes::{BufMut, Bytes, BytesMut};

/// What is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RequestContext {
    pub(super) number: i32,
    pub(super) client_sequence: u64,
    /// Empty when the event's own name is right.
    pub(super) name: String,
}

/// How much of a wrong name is repeated, in bytes.
const MAX_NAME_BYTES: usize = 256;

impl RequestContext {
    /// Takes the bytes from `arena`, which must be empty and is left so.
    pub(super) fn encode(&self, arena: &mut BytesMut) -> Bytes {
        let mut name = self.name.len().min(MAX_NAME_BYTES);
        while !self.name.is_char_boundary(name) {
            name -= 1;
        }
        arena.put_i32_le(self.number);
        arena.put_u64_le(self.client_sequence);
        arena.put_slice(&self.name.as_bytes()[..name]);
        arena.split().freeze()
    }

    /// Reads a context; the result of an event that came by another protocol has none.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (Some(number), Some(sequence)) = (bytes.first_chunk::<4>(), bytes.get(4..12)) else {
            return Self::default();
        };
        let mut client_sequence = [0; 8];
        client_sequence.copy_from_slice(sequence);
        Self {
            number: i32::from_le_bytes(*number),
            client_sequence: u64::from_le_bytes(client_sequence),
            name: String::from_utf8_lossy(&bytes[12..]).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_as_it_went(number: i32, client_sequence: u64, name in ".{0,40}") {
            let context = RequestContext { number, client_sequence, name };
            prop_assert_eq!(RequestContext::decode(&context.encode(&mut BytesMut::new())), context);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let context = RequestContext { name: "é".repeat(200), ..RequestContext::default() };
        assert_eq!(RequestContext::decode(&context.encode(&mut BytesMut::new())).name, "é".repeat(128));
    }

    #[test]
    fn anything_shorter_is_no_context() {
        assert_eq!(RequestContext::decode(b"abc"), RequestContext::default());
    }
}
