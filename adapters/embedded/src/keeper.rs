//! The thread behind the writer: takes snapshots when a segment is sealed, and deletes what nobody needs any more.

use std::{
    io,
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use nimbus_core::mailbox::LogStarts;

use crate::{
    mailbox::EmbeddedMailbox,
    retention::{self, Outcome},
    segment::{SegmentHeader, SegmentId},
    shared::Shared,
    snapshot::{self, Snapshot},
    state::StateMachine,
};

/// How often it looks around when nobody calls.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often the mailbox forgets what its limits allow.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Snapshots that are kept.
pub(crate) const SNAPSHOTS: usize = 2;
/// A segment is sealed when it is this part of the retention time old, so that age can be told by segments.
pub(crate) const SEGMENTS_PER_RETENTION: u32 = 8;

/// What the keeper is asked to do.
#[derive(Debug)]
pub(crate) enum Duty {
    /// A segment was begun.
    Snapshot,
    /// Look around, and say when that is done.
    #[cfg(test)]
    LookAround(mpsc::SyncSender<()>),
    Stop,
}

/// Calls the keeper. Clone-able.
#[derive(Debug, Clone)]
pub(crate) struct Bell(mpsc::Sender<Duty>);

impl Bell {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Duty>) {
        let (duties_tx, duties_rx) = mpsc::channel();
        (Self(duties_tx), duties_rx)
    }

    pub(crate) fn ring(&self, duty: Duty) {
        if let Err(mpsc::SendError(duty)) = self.0.send(duty) {
            // The log is being closed; the next start does what is left to do.
            tracing::debug!(?duty, "the keeper has ended");
        }
    }
}

/// The thread's own state.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    mailbox: Arc<EmbeddedMailbox>,
    swept: Instant,
    /// Consumer groups first: no commit in a snapshot may be ahead of the mailbox in it.
    machines: Vec<Arc<dyn StateMachine>>,
    /// The newest snapshot.
    newest: Option<SegmentId>,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        mailbox: Arc<EmbeddedMailbox>,
        machines: Vec<Arc<dyn StateMachine>>,
        newest: Option<SegmentId>,
    ) -> Self {
        Self { shared, mailbox, swept: Instant::now(), machines, newest }
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self, duties: &mpsc::Receiver<Duty>) {
        loop {
            match duties.recv_timeout(INTERVAL) {
                Ok(Duty::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(Duty::Snapshot) | Err(mpsc::RecvTimeoutError::Timeout) => self.look_around(),
                #[cfg(test)]
                Ok(Duty::LookAround(done)) => {
                    self.look_around();
                    drop(done);
                }
            }
        }
    }

    fn look_around(&mut self) {
        let segments = self.shared.segments.all();
        let Some(active) = segments.last() else { return };
        self.shared.metrics.segments.set(self.shared.segments.count() as i64);
        if active.header.id > 1 && self.newest.is_none_or(|newest| newest < active.header.id) {
            self.snapshot(&active.header);
        }
        let has_frames = active.bytes() > SegmentHeader::bytes(self.shared.meta.partitions) as u64;
        let age = self.shared.clock.now().since(active.header.created);
        if has_frames && age > self.shared.config.retention / SEGMENTS_PER_RETENTION {
            self.shared.roll_wanted.store(true, Ordering::Relaxed);
            self.shared.queue.nudge();
        }
        if retention::run(&self.shared) == Outcome::OldSnapshots {
            self.refresh();
            retention::run(&self.shared);
        }
        if self.swept.elapsed() >= SWEEP_INTERVAL {
            self.swept = Instant::now();
            let shelves = &self.shared.shelves;
            self.mailbox.sweep(|partition| LogStarts {
                events: shelves.events[partition.0 as usize].range().start,
                results: shelves.results[partition.0 as usize].range().start,
            });
        }
    }

    /// Writes down the state at (or after) the beginning of the active segment.
    fn snapshot(&mut self, active: &SegmentHeader) {
        let snapshot =
            Snapshot { segment: active.id, log: active.log, sequence: active.first_sequence, parts: self.parts() };
        let written = snapshot.write(&*self.shared.disk).and_then(|()| self.prune());
        if self.is_written(written) {
            self.newest = Some(active.id);
        }
    }

    /// Writes the snapshots of the newest segments anew: the present state does for any moment before, since records
    /// repeat.
    fn refresh(&mut self) {
        let parts = self.parts();
        let segments = self.shared.segments.all();
        let newest = &segments[segments.len().saturating_sub(SNAPSHOTS)..];
        let refreshed = newest.iter().try_for_each(|segment| {
            let SegmentHeader { id: segment, log, first_sequence: sequence, .. } = segment.header;
            Snapshot { segment, log, sequence, parts: parts.clone() }.write(&*self.shared.disk)
        });
        if self.is_written(refreshed.and_then(|()| self.prune())) {
            self.newest = newest.last().map(|segment| segment.header.id);
        }
    }

    fn parts(&self) -> Vec<(u32, Vec<u8>)> {
        self.machines.iter().map(|machine| (machine.kind() as u32, machine.snapshot())).collect()
    }

    fn snapshots(&self) -> io::Result<Vec<SegmentId>> {
        Ok(snapshot::ids(&self.shared.disk.list(snapshot::DIR)?))
    }

    fn is_written(&self, written: io::Result<()>) -> bool {
        if let Err(error) = &written {
            self.shared.metrics.snapshot_failures.inc();
            tracing::warn!(error = %error, "a snapshot could not be written; it will be tried again");
        }
        written.is_ok()
    }

    fn prune(&self) -> io::Result<()> {
        let disk = &*self.shared.disk;
        let ids = self.snapshots()?;
        let (old, _) = ids.split_at(ids.len().saturating_sub(SNAPSHOTS));
        old.iter().try_for_each(|id| disk.remove(&snapshot::path(*id)))
    }
}
