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
}

/// Every segment, by id.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    by_id: RwLock<BTreeMap<SegmentId, Arc<Segment>>>,
    /// Size of all together. Asked for at every write.
    bytes: AtomicU64,
}

impl Segments {
    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.replace(segment, None, || {});
    }

    /// Puts a segment in place of the one with its id, and of one `more` if it has taken that in. Nobody can look it up
    /// before `refile` has put in order what points into it.
    pub(crate) fn replace(&self, segment: Arc<Segment>, more: Option<SegmentId>, refile: impl FnOnce()) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        self.bytes.fetch_add(segment.bytes(), Ordering::Relaxed);
        let replaced = by_id.insert(segment.header.id, segment);
        for gone in replaced.into_iter().chain(more.and_then(|id| by_id.remove(&id))) {
            self.bytes.fetch_sub(gone.bytes(), Ordering::Relaxed);
        }
        refile();
    }

    pub(crate) fn remove(&self, id: SegmentId) {
        let removed = self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.bytes.fetch_sub(removed.map_or(0, |removed| removed.bytes()), Ordering::Relaxed);
    }

    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// All, oldest first. The last one is being written.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// The segment being written has this size now. Writer thread only.
    pub(crate) fn grown(&self, segment: &Segment, bytes: u64) {
        let before = segment.bytes.swap(bytes, Ordering::Relaxed);
        // A wrapping difference: a segment that was cut back has shrunk.
        self.bytes.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Size of all together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
