//! What `up` started: a small file for each service, and whether its process is still the same one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nimbus_services::{Detached, services_dir};
use serde::{Deserialize, Serialize};

/// A service that `up` started.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Started {
    pub(super) pid: u32,
    /// When the process began, in the kernel's ticks: another process may get the same pid, but not the same beginning.
    began: u64,
    pub(super) address: String,
    pub(super) log: PathBuf,
}

/// Where `up` keeps a service's state, logs and data.
pub(super) fn dir(service: &str) -> PathBuf {
    services_dir().join("up").join(service)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("started.json")
}

impl Started {
    /// Notes in the service's directory what was started.
    pub(super) fn note(dir: &Path, detached: Detached) -> anyhow::Result<Self> {
        let Detached { pid, address, log } = detached;
        let began = began(pid)?.context("it has ended")?;
        let started = Self { pid, began, address, log };
        let text = serde_json::to_vec_pretty(&started)?;
        fs::write(file(dir), text).with_context(|| file(dir).display().to_string())?;
        Ok(started)
    }

    /// What was noted; nothing if nothing was, or if the process is gone.
    pub(super) fn running(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        let started: Self = serde_json::from_slice(&text).context(path.display().to_string())?;
        Ok(started.is_running()?.then_some(started))
    }

    pub(super) fn is_running(&self) -> anyhow::Result<bool> {
        Ok(began(self.pid)? == Some(self.began))
    }

    /// Forgets what was noted.
    pub(super) fn forget(dir: &Path) -> anyhow::Result<()> {
        match fs::remove_file(file(dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(file(dir).display().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// When a process began; nothing if there is none, or only the remains that nobody has collected.
fn began(pid: u32) -> anyhow::Result<Option<u64>> {
    let path = format!("/proc/{pid}/stat");
    if !Path::new("/proc/self/stat").exists() {
        anyhow::bail!("this needs Linux's /proc; use docker compose instead");
    }
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    // The name in parentheses may hold anything; the fields after it are counted from the third, the state.
    let fields: Vec<_> = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
    match (fields.first(), fields.get(19)) {
        (Some(&("Z" | "X")), _) => Ok(None),
        (Some(_), Some(began)) => Ok(Some(began.parse().with_context(|| path.clone())?)),
        _ => anyhow::bail!("{path} is not what it used to be"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_has_one_beginning_and_none_after_its_end() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let first = began(child.id()).unwrap();
        assert!(first.is_some());
        assert_eq!(began(child.id()).unwrap(), first);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(began(child.id()).unwrap(), None);
    }
}
