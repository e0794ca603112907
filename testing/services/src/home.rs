//! The directory of one service: given, and then kept; or temporary, and then gone with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{Error, Result};

#[derive(Debug)]
pub(crate) enum Home {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Home {
    pub(crate) fn open(given: Option<&Path>, name: &str) -> Result<Self> {
        match given {
            Some(path) => {
                fs::create_dir_all(path).map_err(Error::io(format!("{} could not be made", path.display())))?;
                Ok(Self::Given(path.to_owned()))
            }
            None => {
                let dir = tempfile::Builder::new().prefix(&format!("nimbus-{name}-")).tempdir();
                Ok(Self::Temporary(dir.map_err(Error::io("a temporary directory could not be made"))?))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Given(path) => path,
        }
    }

    /// What must be removed when the process that holds this is killed.
    pub(crate) fn to_remove(&self) -> Option<&Path> {
        match self {
            Self::Temporary(dir) => Some(dir.path()),
            Self::Given(_) => None,
        }
    }
}
