//! Reads one segment as far as it makes sense, over damaged places, and remembers them.

use bytes::Bytes;

use crate::{
    disk::{Disk, read_file},
    frame::{Header, Kind, Salt},
    meta::Meta,
    scan::{Scanner, Step},
    segment::{self, NotASegment, SegmentHeader, SegmentId},
};

/// A frame that is as it was written.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) at: usize,
    pub(super) header: Header,
    pub(super) body: Bytes,
}

/// A place that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) what: String,
}

/// What one segment holds.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) header: Option<SegmentHeader>,
    /// Marks are left out.
    pub(super) frames: Vec<Frame>,
    pub(super) bad: Vec<Bad>,
    /// Bytes of a torn tail, which is no damage.
    pub(super) torn: usize,
    /// Of the file, without zeros that were written ahead.
    pub(super) bytes: usize,
    /// The end that a successor's header may name: behind the last frame.
    pub(super) valid: usize,
}

/// Reads a segment as far as it is valid according to its own header or to the `next` one. `None`: there is no such file.
pub(super) fn survey(
    disk: &dyn Disk,
    meta: &Meta,
    id: SegmentId,
    next: Option<&SegmentHeader>,
    is_last: bool,
) -> std::io::Result<Option<Survey>> {
    let mut contents = match read_file(disk, &segment::path(id)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        contents => contents?,
    };
    let mut bad = Vec::new();
    let bytes = contents.len();
    let header = match SegmentHeader::decode(&contents, id, meta.log, meta.partitions) {
        Ok(header) => Some(header),
        Err(NotASegment::Version(found)) => {
            bad.push(Bad { at: 4, what: format!("the segment has format version {found}, unlike `meta`") });
            None
        }
        Err(NotASegment::Damaged { offset, what }) => {
            bad.push(Bad { at: offset as usize, what });
            None
        }
    };
    let valid = match &header {
        Some(header) => header.valid(next),
        None => next.map(|next| next.previous_valid),
    };
    if let Some(valid) = valid.and_then(|valid| usize::try_from(valid).ok()) {
        if bytes < valid {
            bad.push(Bad { at: bytes, what: format!("the file ends here; it should have {valid} bytes") });
        }
        contents.truncate(valid);
    }
    let contents = Bytes::from(contents);
    let begin = SegmentHeader::bytes(meta.partitions).min(contents.len());
    let mut survey = Survey { header, frames: Vec::new(), bad, torn: 0, bytes, valid: begin };
    let mut scanner = Scanner::new(&contents, begin, Salt::of(meta.log));
    loop {
        match scanner.step() {
            Step::End => return Ok(Some(survey)),
            Step::Frame { header: Header { kind: Kind::Mark, .. }, .. } => {}
            Step::Frame { at, header, body } => {
                survey.valid = at + header.frame_bytes();
                survey.frames.push(Frame { at, header, body: contents.slice_ref(body) });
            }
            Step::Bad { at, what } => {
                if is_last && !scanner.is_vouched_for() {
                    survey.torn = scanner.torn();
                    survey.bytes = at + survey.torn;
                    return Ok(Some(survey));
                }
                survey.bad.push(Bad { at, what });
                if scanner.resync().is_none() {
                    return Ok(Some(survey));
                }
            }
        }
    }
}
