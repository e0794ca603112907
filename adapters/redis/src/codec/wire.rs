//! Numbers of variable length, texts and byte strings; and a reader that never runs past the end.

use nimbus_core::{InvalidId, Position};

use super::Unreadable;

/// Appends.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn position(&mut self, position: Position) {
        self.number(position.0);
    }

    /// At most 128 bytes, as ids are.
    pub(crate) fn text(&mut self, text: &str) {
        self.u8(text.len() as u8);
        self.raw(text.as_bytes());
    }
}

/// Takes apart what a [`Writer`] wrote.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins behind the version, which must be `known`.
    pub(crate) fn open(what: &'static str, known: u8, bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut reader = Self { what, rest: bytes };
        match reader.u8()? {
            found if found == known => Ok(reader),
            found if found > known => Err(Unreadable::Newer { what, found, known }),
            found => Err(reader.damaged(format!("version {found} was never written"))),
        }
    }

    /// Begins without a version of its own.
    pub(crate) const fn body(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn damaged(&self, why: impl Into<String>) -> Unreadable {
        Unreadable::Damaged { what: self.what, why: why.into() }
    }

    pub(crate) fn bad_id(&self, error: &InvalidId) -> Unreadable {
        self.damaged(error.to_string())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn end(&self) -> Result<(), Unreadable> {
        if self.is_empty() { Ok(()) } else { Err(self.damaged(format!("{} bytes too many", self.rest.len()))) }
    }

    /// What has not been taken yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| self.damaged("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Unreadable> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Unreadable> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number is too large"))
    }

    /// A number of things of which each takes at least one byte: never more than there are bytes left.
    pub(crate) fn count(&mut self) -> Result<usize, Unreadable> {
        match usize::try_from(self.number()?) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            _ => Err(self.damaged("it ends too early")),
        }
    }

    pub(crate) fn position(&mut self) -> Result<Position, Unreadable> {
        self.number().map(Position)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let len = self.u8()?;
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("an id is not text"))
    }
}
