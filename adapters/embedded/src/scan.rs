//! Walks over the frames of one segment and says where they stop making sense.
//!
//! Used by recovery, which stops at the first bad place, and by the data tools, which go on behind it. Checks checksums
//! and structure; sequence numbers and offsets are the caller's business.

use crate::frame::{HEADER_BYTES, Header, MAGIC, NotAHeader, Salt};

/// What lies at the scanner's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Frame {
        at: usize,
        header: Header,
        body: &'a [u8],
    },
    /// Not a valid frame. The scanner stays here.
    Bad {
        at: usize,
        what: String,
    },
    /// The end of the valid length.
    End,
}

/// Walks over the frames of one segment.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    contents: &'a [u8],
    at: usize,
    salt: Salt,
}

impl<'a> Scanner<'a> {
    /// `contents`: the file up to its valid length. `at`: where its first frame begins.
    pub(crate) fn new(contents: &'a [u8], at: usize, salt: Salt) -> Self {
        Self { contents, at, salt }
    }

    /// The frame at the present place; moves behind it.
    pub(crate) fn step(&mut self) -> Step<'a> {
        let at = self.at;
        let rest = &self.contents[at..];
        if rest.is_empty() {
            return Step::End;
        }
        let header = match Header::decode(rest, self.salt) {
            Ok(header) => header,
            Err(why) => return Step::Bad { at, what: why.to_string() },
        };
        let Some(body) = rest.get(HEADER_BYTES..header.frame_bytes()) else {
            return Step::Bad { at, what: "the file ends within the body of a frame".into() };
        };
        if !header.vouches_for(body) {
            return Step::Bad { at, what: "the checksum of a frame's body does not fit".into() };
        }
        self.at = at + header.frame_bytes();
        Step::Frame { at, header, body }
    }

    /// Moves to the next place after the present one where a header with a valid checksum stands. `None`: there is none.
    pub(crate) fn resync(&mut self) -> Option<(usize, Header)> {
        let mut from = self.at + 1;
        while let Some(found) = self.contents.get(from..).and_then(find_magic) {
            let at = from + found;
            match Header::decode(&self.contents[at..], self.salt) {
                Ok(header) => {
                    self.at = at;
                    return Some((at, header));
                }
                Err(NotAHeader::Short | NotAHeader::Magic | NotAHeader::Checksum | NotAHeader::Kind(_)) => {
                    from = at + 1
                }
            }
        }
        None
    }

    /// How many bytes of an unfinished write lie at the present place, zeros at its end not counted. 0 if there are only zeros, which
    /// are written ahead.
    pub(crate) fn torn(&self) -> usize {
        let rest = &self.contents[self.at..];
        rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }

    /// Whether anything behind the present place proves that the bytes here had been synced.
    pub(crate) fn is_vouched_for(&self) -> bool {
        let mut ahead = self.clone();
        while let Some((_, header)) = ahead.resync() {
            if header.synced > self.at as u64 {
                return true;
            }
        }
        false
    }
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
}
