//! A small file system of its own, to run out of room on.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// A mounted tmpfs; unmounted on drop.
#[derive(Debug)]
pub struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// Mounts one of `bytes`.
    ///
    /// # Errors
    /// Mounting is not allowed (it needs root).
    pub fn mount(bytes: u64) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("nimbus-tmpfs-").tempdir()?;
        let options = format!("size={bytes},mode=0700");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "nimbus-test"]).arg(dir.path()).output();
        let output = output.context("mount could not be started")?;
        ensure!(output.status.success(), "mount failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { dir })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        match Command::new("umount").arg("--lazy").arg(self.dir.path()).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("{} could not be unmounted: {other:?}", self.dir.path().display()),
        }
    }
}
