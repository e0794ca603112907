//! Ready when every latch is gone and no shutdown has begun.
//!
//! Each part of the process that must be up first takes a latch under its name, before anything is served, and drops it
//! when it is up. Nothing polls, and nothing can be forgotten: a part that never comes up is named by `/ready`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Whether the process should get work. Cloning gives another handle to the same state.
#[derive(Debug, Clone)]
pub struct Readiness {
    latches: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    ending: CancellationToken,
}

impl Readiness {
    /// Ready, until the first latch is taken; not ready for ever once `ending` is cancelled.
    pub fn new(ending: CancellationToken) -> Self {
        Self { latches: Arc::default(), ending }
    }

    fn latches(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // The map is whole at every step, so a panic elsewhere does not spoil it.
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the process not ready until the latch is dropped.
    pub fn latch(&self, name: &'static str) -> Latch {
        *self.latches().entry(name).or_default() += 1;
        Latch { readiness: self.clone(), name }
    }

    /// What the process waits for, by name; empty when it is ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.latches().keys().copied().collect();
        if self.ending.is_cancelled() {
            names.push("shutdown");
        }
        names
    }
}

/// Keeps the process not ready while it lives.
#[derive(Debug)]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

impl Drop for Latch {
    fn drop(&mut self) {
        let mut latches = self.readiness.latches();
        match latches.get_mut(self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                latches.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_it_waits_for_until_the_last_latch_of_a_name_is_gone() {
        let ending = CancellationToken::new();
        let readiness = Readiness::new(ending.clone());
        assert!(readiness.waiting_for().is_empty());
        let (store, executors, again) =
            (readiness.latch("store"), readiness.latch("executors"), readiness.latch("executors"));
        assert_eq!(readiness.waiting_for(), ["executors", "store"]);
        drop(executors);
        drop(store);
        assert_eq!(readiness.waiting_for(), ["executors"]);
        drop(again);
        assert!(readiness.waiting_for().is_empty());
        ending.cancel();
        assert_eq!(readiness.waiting_for(), ["shutdown"]);
    }
}
