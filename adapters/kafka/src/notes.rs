//! A consumer's notes as the text that a commit carries.
//!
//! The broker counts characters, and cuts off at 4096 of them, so each byte becomes one character: printable ASCII itself,
//! any other byte the letter that many places behind U+0100. No byte becomes a NUL, which C would take for the end.

use bytes::Bytes;

const BASE: u32 = 0x100;

/// One character for each byte.
pub(crate) fn to_text(notes: &[u8]) -> String {
    let letter = |byte: u8| match byte {
        0x20..=0x7e => char::from(byte),
        _ => char::from_u32(BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    notes.iter().copied().map(letter).collect()
}

/// `None`: nobody here wrote that.
pub(crate) fn from_text(text: &str) -> Option<Bytes> {
    let byte = |letter: char| match u32::from(letter) {
        code @ 0x20..=0x7e => u8::try_from(code).ok(),
        code => u8::try_from(code.checked_sub(BASE)?).ok(),
    };
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_as_one_character() {
        let all: Vec<u8> = (0..=255).collect();
        let text = to_text(&all);
        assert_eq!(text.chars().count(), 256);
        assert!(!text.contains('\0'));
        assert_eq!(from_text(&text).unwrap(), all);
        assert_eq!(to_text(b"settled: 7"), "settled: 7");
        assert_eq!(from_text("").unwrap(), Bytes::new());
        assert_eq!(from_text("written by another hand: \u{2603}"), None);
    }
}
