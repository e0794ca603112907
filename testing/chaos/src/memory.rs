//! The memory of processes while something is done to them: before, at most, after.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::interval};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);
const MIB: f64 = 1_048_576.0;

/// What one process held in memory (resident).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Which.
    pub process: String,
    /// When it began.
    pub before_mib: f64,
    /// The most that was seen.
    pub max_mib: f64,
    /// At the end.
    pub after_mib: f64,
}

/// Looks at processes until it is asked what it saw.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Arc<Mutex<Vec<Memory>>>,
    looking: JoinHandle<()>,
}

impl Watch {
    /// Begins to look at these.
    pub(crate) fn begin(processes: Vec<(String, u32)>) -> Self {
        let first = processes.iter().map(|(process, pid)| {
            let now = resident_mib(*pid).unwrap_or_default();
            Memory { process: process.clone(), before_mib: now, max_mib: now, after_mib: now }
        });
        let seen = Arc::new(Mutex::new(first.collect::<Vec<_>>()));
        let looking = tokio::spawn(look(processes, Arc::clone(&seen)));
        Self { seen, looking }
    }

    /// What it saw.
    pub(crate) fn end(self) -> Vec<Memory> {
        self.looking.abort();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn look(processes: Vec<(String, u32)>, seen: Arc<Mutex<Vec<Memory>>>) {
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        for (number, (_, pid)) in processes.iter().enumerate() {
            // One that has ended keeps what was seen last.
            if let Some(now) = resident_mib(*pid) {
                let seen = &mut seen.lock().unwrap_or_else(PoisonError::into_inner)[number];
                seen.after_mib = now;
                seen.max_mib = seen.max_mib.max(now);
            }
        }
    }
}

fn resident_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kib * 1_024.0 / MIB * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_process_holds_is_seen() {
        let seen = Watch::begin(vec![("me".to_owned(), std::process::id())]).end();
        assert!(
            seen[0].process == "me" && seen[0].before_mib > 1.0 && seen[0].max_mib >= seen[0].after_mib,
            "{seen:?}"
        );
    }
}
