//! One thread, one file: gather what all streams have, append, sync, answer.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

/// What a record takes, about that of an event with its envelope in a real log.
const RECORD_BYTES: usize = 64;

/// What a stream wants written.
pub(crate) struct Batch {
    /// One record per event.
    pub(crate) records: usize,
    /// Called on the writer's thread once they are on disk.
    pub(crate) written: Box<dyn FnOnce() + Send>,
}

/// Hands batches to the thread. The thread ends with the last handle.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    batches: Sender<Batch>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("records", &self.records).finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (batches_tx, batches) = channel();
        thread::Builder::new().name("baseline-writer".to_owned()).spawn(move || {
            if let Err(error) = write(file, &batches) {
                // Without its file a baseline measures nothing.
                eprintln!("baseline: {error}");
                std::process::exit(74);
            }
        })?;
        Ok(Self { batches: batches_tx })
    }

    /// Queues a batch. `false` when the thread is gone.
    pub(crate) fn write(&self, batch: Batch) -> bool {
        self.batches.send(batch).is_ok()
    }
}

fn write(mut file: File, batches: &Receiver<Batch>) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::new();
    let mut group = Vec::new();
    let mut number = 0u64;
    while let Ok(first) = batches.recv() {
        group.push(first);
        group.extend(batches.try_iter());
        buffer.clear();
        for _ in 0..group.iter().map(|batch| batch.records).sum() {
            number += 1;
            let mut record = [0x5a; RECORD_BYTES];
            record[..8].copy_from_slice(&number.to_le_bytes());
            buffer.extend_from_slice(&record);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        for batch in group.drain(..) {
            (batch.written)();
        }
    }
    Ok(())
}
