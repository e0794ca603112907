//! One thread, one file: gather what all streams have, append, sync, answer. Or no file, and an answer at once.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

/// What a record takes, about that of an event with its envelope in a real log; a longer payload comes on top.
const RECORD_BYTES: usize = 64;
/// So much of a payload has room in these.
pub(crate) const WITHIN: usize = 16;

/// What a stream wants written.
pub(crate) struct Batch {
    /// One record per event.
    pub(crate) records: usize,
    /// What their payloads take beyond [`WITHIN`] each, in bytes.
    pub(crate) beyond: usize,
    /// Called on the writer's thread once they are on disk; without one, at once.
    pub(crate) written: Box<dyn FnOnce() + Send>,
}

/// Hands batches to the thread. The thread ends with the last handle.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// Nothing: nothing is written.
    batches: Option<Sender<Batch>>,
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
        Ok(Self { batches: Some(batches_tx) })
    }

    /// One that writes nothing: what is left is tonic.
    pub(crate) const fn none() -> Self {
        Self { batches: None }
    }

    /// Queues a batch. `false` when the thread is gone.
    pub(crate) fn write(&self, batch: Batch) -> bool {
        match &self.batches {
            Some(batches) => batches.send(batch).is_ok(),
            None => {
                (batch.written)();
                true
            }
        }
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
        for batch in &group {
            for _ in 0..batch.records {
                number += 1;
                let mut record = [0x5a; RECORD_BYTES];
                record[..8].copy_from_slice(&number.to_le_bytes());
                buffer.extend_from_slice(&record);
            }
            buffer.resize(buffer.len() + batch.beyond, 0x5a);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        for batch in group.drain(..) {
            (batch.written)();
        }
    }
    Ok(())
}
