//! Where events wait until they are accepted, and what survives the process.

mod format;
mod journal;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

pub(crate) use self::journal::Journal;
use crate::{Error, machine::Memory};

/// How many unaccepted events an outbox holds, unless said otherwise.
pub const DEFAULT_CAPACITY: usize = 1024;

/// Where events wait until a server has them durably.
#[derive(Debug, Clone)]
pub struct Outbox {
    place: Place,
    capacity: usize,
}

#[derive(Debug, Clone)]
enum Place {
    Memory,
    File(PathBuf),
}

/// An outbox that is ready for use.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) outbox_id: [u8; 16],
    pub(crate) memory: Memory,
    pub(crate) journal: Option<Journal>,
    pub(crate) capacity: usize,
}

impl Outbox {
    /// In memory: events that are not accepted are lost with the process, and a new process begins a new outbox, which
    /// gets no answers to the old one's events.
    pub const fn memory() -> Self {
        Self { place: Place::Memory, capacity: DEFAULT_CAPACITY }
    }

    /// In a file: survives `kill -9` at any instant and, for events, a power loss. Opened by one client at a time; made if
    /// it is not there, readable by its owner only. It is one client id's: another one is refused. A file `<path>.lock` lies beside it, and `<path>.tmp` for moments.
    ///
    /// [`Client::send`](crate::Client::send) returns after an fdatasync that the events sent at the same time share.
    /// What the application acknowledged is written in batches, without one: a power loss may hand it out again. The
    /// file is rewritten when it has grown to four times what it must hold (and past 1 MiB).
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self { place: Place::File(path.as_ref().to_owned()), capacity: DEFAULT_CAPACITY }
    }

    /// How many events may wait to be accepted before `send` waits: 1 or more, default [`DEFAULT_CAPACITY`]. At most
    /// the server's `max_in_flight` of them are under way; a client that is to collect events while it is offline needs
    /// room for them here. All of them are held in memory.
    #[must_use]
    pub const fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// `fresh_id` is for an outbox in memory, which is always a new one.
    pub(crate) async fn open(self, client_id: &str, fresh_id: [u8; 16]) -> Result<Opened, Error> {
        let capacity = self.capacity;
        if capacity == 0 || capacity > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(Error::Invalid { what: format!("outbox capacity is {capacity}; give 1 or more") });
        }
        match self.place {
            Place::Memory => Ok(Opened { outbox_id: fresh_id, memory: Memory::default(), journal: None, capacity }),
            Place::File(path) => {
                let opening = tokio::task::spawn_blocking({
                    let (path, client_id) = (path.clone(), client_id.to_owned());
                    move || Journal::open(&path, &client_id)
                });
                let (journal, memory) = match opening.await {
                    Ok(result) => result?,
                    Err(error) => return Err(journal::io_error(&path, std::io::Error::other(error))),
                };
                Ok(Opened { outbox_id: journal.outbox_id(), memory, journal: Some(journal), capacity })
            }
        }
    }
}
