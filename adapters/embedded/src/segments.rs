//! The segments that exist, with their open files: what readers, the writer and retention share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    disk::DiskFile,
    segment::{SegmentHeader, SegmentId},
};

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
    bytes: AtomicU64,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, file: Arc<dyn DiskFile>, bytes: u64) -> Arc<Self> {
        Arc::new(Self { header, file, bytes: AtomicU64::new(bytes) })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Every segment, by id.
#[derive(Debug, Default)]
pub(crate) struct Segments(RwLock<BTreeMap<SegmentId, Arc<Segment>>>);

impl Segments {
    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(segment.header.id, segment);
    }

    /// Puts a segment in place of the one with its id. Nobody can look it up before `refile` has put in order what points
    /// into it.
    pub(crate) fn replace(&self, segment: Arc<Segment>, refile: impl FnOnce()) {
        let mut segments = self.0.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(segment.header.id, segment);
        refile();
    }

    pub(crate) fn remove(&self, id: SegmentId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// All, oldest first. The last one is being written.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Size of all together, and their number.
    pub(crate) fn total(&self) -> (u64, usize) {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (segments.values().map(|segment| segment.bytes()).sum(), segments.len())
    }
}
