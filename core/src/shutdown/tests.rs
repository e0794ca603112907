//! Order, limits and failures of the plan, on the paused clock.

use std::future::pending;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn recorder() -> (Arc<Mutex<Vec<&'static str>>>, impl Fn(&'static str) + Clone) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&seen);
    (seen, move |name| recorded.lock().unwrap().push(name))
}

#[tokio::test(start_paused = true)]
async fn phases_run_in_order_and_each_waits_for_its_own_tasks() {
    let shutdown = Shutdown::new();
    let (seen, record) = recorder();
    // Registered in the opposite order, and each slower than the one that has to end after it.
    for (index, phase) in Phase::ALL.into_iter().enumerate().rev() {
        let record = record.clone();
        let slowness = Duration::from_millis(100 * (7 - index as u64));
        shutdown.spawn(phase, phase.label(), move |begun| async move {
            begun.cancelled().await;
            tokio::time::sleep(slowness).await;
            record(phase.label());
        });
    }
    let outcome = shutdown.run(LIMIT, pending()).await;
    let expected: Vec<_> = Phase::ALL.into_iter().map(Phase::label).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(outcome, Outcome { end: End::Clean, elapsed: Duration::from_millis(2800), stragglers: vec![] });
}

#[tokio::test(start_paused = true)]
async fn an_empty_plan_ends_at_once() {
    let outcome = Shutdown::new().run(LIMIT, pending()).await;
    assert_eq!(outcome, Outcome { end: End::Clean, elapsed: Duration::ZERO, stragglers: vec![] });
}

#[tokio::test(start_paused = true)]
async fn a_stuck_task_is_named_and_costs_the_later_phases_nothing() {
    let shutdown = Shutdown::new();
    let (seen, record) = recorder();
    shutdown.spawn(Phase::DrainStreams, "stuck", |_| pending());
    shutdown.spawn(Phase::FlushLogs, "flush", |begun| async move {
        begun.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        record("flushed");
    });
    let outcome = shutdown.run(LIMIT, pending()).await;
    assert_eq!(*seen.lock().unwrap(), ["flushed"]);
    assert_eq!(outcome.end, End::Late);
    assert_eq!(outcome.stragglers, [(Phase::DrainStreams, "stuck")]);
    assert_eq!(outcome.elapsed, Duration::from_secs(15), "12 s for the drain, 3 s for the flush");
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_hard_even_if_nothing_ends() {
    let shutdown = Shutdown::new();
    for phase in Phase::ALL {
        shutdown.spawn(phase, phase.label(), |_| pending());
    }
    let outcome = shutdown.run(LIMIT, pending()).await;
    assert_eq!((outcome.end, outcome.elapsed), (End::Late, LIMIT));
    assert_eq!(outcome.stragglers.len(), Phase::ALL.len());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once() {
    let shutdown = Shutdown::new();
    shutdown.spawn(Phase::SettleConsumers, "slow", |_| pending());
    let outcome = shutdown.run(LIMIT, tokio::time::sleep(Duration::from_millis(50))).await;
    assert_eq!((outcome.end, outcome.elapsed), (End::Forced, Duration::from_millis(50)));
    assert_eq!(outcome.stragglers, [(Phase::SettleConsumers, "slow")]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_or_panics_before_its_time_begins_the_shutdown() {
    let shutdown = Shutdown::new();
    shutdown.spawn(Phase::SettleConsumers, "router", |_| async {});
    assert_eq!(shutdown.requested().await, Cause::TaskEnded("router"));

    let shutdown = Shutdown::new();
    shutdown.spawn(Phase::SettleConsumers, "router", |_| async { panic!("on purpose") });
    assert_eq!(shutdown.requested().await, Cause::TaskEnded("router"));
    assert_eq!(shutdown.run(LIMIT, pending()).await.end, End::Clean);
}

#[tokio::test(start_paused = true)]
async fn the_first_cause_stands_and_a_finished_registration_is_no_failure() {
    let shutdown = Shutdown::new();
    shutdown.register(Phase::NotReady, "start").finish();
    assert!(!shutdown.plan.requested.is_cancelled());
    shutdown.request(Cause::Asked("SIGTERM"));
    shutdown.request(Cause::Asked("SIGINT"));
    assert_eq!(shutdown.requested().await, Cause::Asked("SIGTERM"));
}

#[tokio::test(start_paused = true)]
async fn who_registers_late_is_told_at_once_and_waited_for() {
    let shutdown = Shutdown::new();
    let late = shutdown.clone();
    shutdown.spawn(Phase::DrainStreams, "acceptor", move |begun| async move {
        begun.cancelled().await;
        late.spawn(Phase::DrainStreams, "late", |begun| async move {
            assert!(begun.is_cancelled());
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
    });
    let outcome = shutdown.run(LIMIT, pending()).await;
    assert_eq!((outcome.end, outcome.elapsed), (End::Clean, Duration::from_secs(1)));
}
