//! One run: a storm, then calm, then the books.

use std::{cell::RefCell, fmt, panic, sync::Once, time::Duration};

use nimbus_core::chance;

use crate::{dice::mix, plan::Bug, process::Backend, storm::Cast, world::World};

/// How long it may take, once there are no faults any more, until everything is answered: a client waits up to 30 s between
/// two attempts, and a swallowed connection is noticed after half a minute.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether acknowledgements and commits have arrived.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which run.
    pub seed: u64,
    /// Everything that happened, as one number: the same for the same seed.
    pub trace: u64,
    /// Port calls and deliveries.
    pub steps: u64,
    /// Events that were answered.
    pub answers: u64,
    /// How much time passed in there.
    pub time: Duration,
    /// The first promise that was broken.
    pub violation: Option<String>,
    /// What was planted.
    pub bug: Option<Bug>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, trace, steps, answers, time, violation, bug } = self;
        write!(f, "seed {seed}: {answers} events answered in {steps} steps and {time:?}, trace {trace:016x}")?;
        let Some(violation) = violation else { return Ok(()) };
        let bug = bug.map(|bug| format!(" BUG={}", bug.name())).unwrap_or_default();
        write!(f, "\nbroken: {violation}\nonce more: make simulate SEED={seed}{bug}")
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic in a task is caught by the runtime; here it is a violation.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANIC.with(|panic| panic.borrow_mut().get_or_insert_with(|| info.to_string()).len());
            before(info);
        }));
    });
}

/// Runs one seed, with a planted bug or without. `aloud`: every step is told on standard error.
///
/// # Panics
/// When the runtime cannot be built.
pub fn run(seed: u64, bug: Option<Bug>, aloud: bool) -> Report {
    note_panics();
    PANIC.take();
    let _seeded = chance::seed(mix(&[seed, 2]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing that could be missing");
    let mut report = runtime.block_on(live(seed, bug, aloud));
    if let Some(panic) = PANIC.take() {
        report.violation.get_or_insert(panic);
    }
    report
}

async fn live(seed: u64, bug: Option<Bug>, aloud: bool) -> Report {
    let world = World::new(seed, bug, aloud);
    let backend = Backend::new(&world);
    let mut cast = None;
    let life = async {
        let cast = cast.insert(Cast::start(&backend).await);
        cast.weather().await;
        world.step("calm", 0, 0);
        world.calm_down();
        cast.recover().await;
        if tokio::time::timeout(PATIENCE, cast.send_rest()).await.is_err() {
            world.ledger.violated("what was left could not be sent".to_owned());
        }
        let answered = async {
            loop {
                let mut changed = std::pin::pin!(world.ledger.changed.notified());
                changed.as_mut().enable();
                if world.ledger.open().is_none() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, answered).await.is_err() {
            let open = world.ledger.open().unwrap_or_default();
            world.ledger.violated(format!("after {PATIENCE:?} without faults: {open}"));
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Some(restless) = restless(&backend, world.ledger.is_one_gone()) {
            if tokio::time::Instant::now() > deadline {
                world.ledger.violated(format!("after {PATIENCE:?} without faults: {restless}"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let violated = async {
        loop {
            let mut changed = std::pin::pin!(world.ledger.changed.notified());
            changed.as_mut().enable();
            if world.ledger.violation().is_some() {
                return;
            }
            changed.await;
        }
    };
    tokio::select! {
        biased;
        () = violated => {}
        () = life => {}
    }
    let summary = world.summary();
    let (answers, violation) = (world.ledger.answers(), world.ledger.violation());
    let at = world.elapsed();
    drop(cast);
    Report { seed, trace: summary.hash, steps: summary.steps, answers, time: at, violation, bug }
}

/// What still waits somewhere, in words.
fn restless(backend: &Backend, is_one_gone: bool) -> Option<String> {
    for partition in backend.results.partitions().all() {
        let (applied, end) = (backend.mailbox.applied(partition), backend.results.end(partition));
        if applied < end {
            return Some(format!("partition {partition} is folded in up to {applied}, and ends at {end}"));
        }
        let end = backend.events.end(partition);
        for (group, position) in backend.events.committed(partition) {
            if position < end {
                return Some(format!("{group} is at {position} of partition {partition}, which ends at {end}"));
            }
        }
    }
    let waiting = backend.mailbox.waiting_bytes();
    (waiting > 0 && !is_one_gone)
        .then(|| format!("{waiting} bytes wait in mailboxes although everything was acknowledged"))
}
