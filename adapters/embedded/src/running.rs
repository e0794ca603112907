//! The threads of an open log, from their start to their end.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use crate::{
    clean::CleanMark,
    disk::LockGuard,
    keeper::{Bell, Duty, Keeper},
    shared::Shared,
    writer::{End, Writer},
};

/// Why the log could not be closed in good order. Nothing acknowledged is lost.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log could not be closed in good order, nothing acknowledged is lost: {0}")]
pub struct CloseError(pub(crate) String);

/// The threads of an open log, and the lock on its directory. Dropping the last handle stops them without waiting.
pub(crate) struct Running {
    shared: Arc<Shared>,
    pub(crate) bell: Bell,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    /// Returns where the log ended, and the lock.
    writer: JoinHandle<(Option<End>, Box<dyn LockGuard>)>,
    keeper: JoinHandle<()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    pub(crate) fn start(
        shared: Arc<Shared>,
        writer: Writer,
        keeper: Keeper,
        bell: Bell,
        duties: mpsc::Receiver<Duty>,
        lock: Box<dyn LockGuard>,
    ) -> io::Result<Self> {
        let keeper = thread::Builder::new().name("nimbus-keeper".into()).spawn(move || keeper.run(&duties))?;
        let closing = ClosesOnPanic(Arc::clone(&shared));
        let writer = thread::Builder::new().name("nimbus-writer".into()).spawn(move || {
            let end = writer.run();
            drop(closing);
            // The lock lives as long as anything may be written.
            (end, lock)
        })?;
        Ok(Self { shared, bell, threads: Mutex::new(Some(Threads { writer, keeper })) })
    }

    /// Ends the threads, waits for them, and leaves the clean mark.
    pub(crate) fn stop(&self) -> Result<(), CloseError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, keeper }) = threads else { return Ok(()) };
        // The keeper may be waiting for the writer, so it goes first.
        self.bell.ring(Duty::Stop);
        let kept = keeper.join();
        self.shared.close();
        let (end, lock) = writer.join().map_err(|_| CloseError("the writer panicked".into()))?;
        kept.map_err(|_| CloseError("the keeper panicked".into()))?;
        let end = end.ok_or_else(|| CloseError("the last write failed".into()))?;
        let mark = CleanMark { next_sequence: end.next_sequence };
        let marked = mark.write(&*self.shared.disk).map_err(|error| CloseError(error.to_string()));
        drop(lock);
        marked
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bell.ring(Duty::Stop);
        self.shared.close();
    }
}

/// Without its writer the log is closed; nobody shall wait for it.
#[derive(Debug)]
struct ClosesOnPanic(Arc<Shared>);

impl Drop for ClosesOnPanic {
    fn drop(&mut self) {
        self.0.close();
        self.0.queue.abandon();
    }
}
