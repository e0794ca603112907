//! A deterministic simulation: many servers, executors, routers and clients of the real code in one thread.
//!
//! The ports are adapters that inject faults, the network is memory, the clock is paused, and everything that is left to
//! chance follows from a seed; so a run can be had again. A ledger checks what was promised at every port call and every
//! delivery. What it leaves out: the vendors' own code, real disks and sockets, threads. In the worst case a run finds nothing
//! although something is wrong; that it finds five known bugs is tested.

mod bus;
mod dice;
mod ledger;
mod life;
mod log;
mod mailbox;
mod network;
mod plan;
mod process;
mod run;
mod search;
mod storm;
#[cfg(test)]
mod tests;
mod user;
mod work;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use plan::Bug;
pub use run::{Report, run};
pub use search::search;

/// One thread runs everything of a simulation: a lock is never held by another, and a panic is a violation anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
