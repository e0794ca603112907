//! A thousand runs, every one of which can be had again, and five bugs that are found among them.

use nimbus_simulation::{Bug, Report, run, search};

/// What a run of the tests covers. More: `make simulate SEEDS=100000`.
const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_seeds_keep_every_promise() {
    let reports: Vec<Report> = search(1..SEEDS + 1, None).iter().collect();
    if let Some(broken) = reports.iter().find(|report| report.violation.is_some()) {
        panic!("{broken}");
    }
    assert_eq!(reports.len() as u64, SEEDS);
    let answers: u64 = reports.iter().map(|report| report.answers).sum();
    assert!(answers > 10 * SEEDS, "{answers} answers: hardly anything happened");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=20 {
        let first = run(seed, None, false);
        // On another thread: nothing that a thread has by itself may reach into a run.
        let again = std::thread::spawn(move || run(seed, None, false)).join().unwrap();
        assert_eq!(first, again);
        assert_ne!(first.trace, run(seed + 1_000, None, false).trace);
    }
}

fn is_found(bug: Bug) -> Report {
    let mut reports = search(1..SEEDS + 1, Some(bug)).into_iter();
    let found = reports.find(|report| report.violation.is_some());
    found.unwrap_or_else(|| panic!("{} was not found within {SEEDS} seeds", bug.name()))
}

#[test]
fn a_commit_past_a_failure_is_found() {
    let found = is_found(Bug::CommitPastFailure);
    assert!(found.to_string().contains("BUG=commit-past-failure"), "{found}");
}

#[test]
fn the_cleanup_of_a_newer_session_is_found() {
    is_found(Bug::CleanupOfNewer);
}

#[test]
fn an_accept_before_it_is_durable_is_found() {
    is_found(Bug::AcceptBeforeDurable);
}

#[test]
fn a_batch_that_is_applied_without_a_fence_is_found() {
    is_found(Bug::ApplyWithoutFence);
}

#[test]
fn a_notification_that_is_missed_is_found() {
    is_found(Bug::MissedNotification);
}
