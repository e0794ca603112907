//! Many runs at once: one thread each, all with seeds of their own.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use crate::{Bug, Report, run};

/// Runs seeds in about their order, one on each core, and stops at the first that breaks a promise; those under way are still
/// reported.
pub fn search(seeds: Range<u64>, bug: Option<Bug>) -> mpsc::Receiver<Report> {
    let (found, reports) = mpsc::channel();
    let (next, over) = (Arc::new(AtomicU64::new(seeds.start)), Arc::new(AtomicBool::new(false)));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..threads {
        let (found, next, over) = (found.clone(), Arc::clone(&next), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let report = run(seed, bug, false);
                if report.violation.is_some() {
                    over.store(true, Ordering::Relaxed);
                }
                if found.send(report).is_err() {
                    return;
                }
            }
        });
    }
    reports
}
