//! Why a data directory cannot be opened or worked on.

use std::{io, path::PathBuf};

use crate::meta::FORMAT_VERSION;

/// Why a data directory cannot be opened or worked on. Nothing in the directory was changed, unless a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open. Retryable when that process has ended.
    #[error("{} is in use by another process; stop that one, or choose another data directory", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// It was made with another number of partitions.
    #[error(
        "{} has {found} partitions, the configuration says {wanted}; set it to {found}, or begin a new directory",
        dir.display()
    )]
    Partitions {
        /// The data directory.
        dir: PathBuf,
        /// What the directory has.
        found: u32,
        /// What the configuration says.
        wanted: u32,
    },
    /// A newer Nimbus wrote it.
    #[error("{} has data format {found}, this build reads {FORMAT_VERSION}; use a newer build of nimbus", dir.display())]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// A Nimbus too old for this one wrote it.
    #[error(
        "{} has data format {found}, this build reads {FORMAT_VERSION}; run the release that wrote it, let its consumers \
         finish, and begin a new directory",
        dir.display()
    )]
    OlderFormat {
        /// The data directory.
        dir: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// Stored bytes are not what was written.
    #[error(
        "{file} is damaged at byte {offset}: {what}; nothing was changed. `nimbus data check` lists every damage, \
         `nimbus data repair` sets the damaged parts aside and keeps the rest"
    )]
    Damaged {
        /// The file, relative to the data directory.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A setting is out of its range.
    #[error("the embedded store's configuration cannot work: {0}")]
    Config(String),
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, with the file's name.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn damaged(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.into(), offset, what: what.into() }
    }

    /// For `map_err`: says what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
