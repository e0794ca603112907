//! What everything in one simulation shares: the seed's numbers, the books, the trace, and whether there still are faults.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use nimbus_core::clock::{Clock, UnixMillis};
use tokio::time::Instant;

use crate::{
    dice::{Dice, mix},
    ledger::Ledger,
    lock,
    plan::{Bug, Plan},
};

/// The wall clock of every process at the start, in milliseconds.
const EPOCH_MILLIS: u64 = 1_700_000_000_000;

/// One simulated world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) dice: Dice,
    pub(crate) ledger: Ledger,
    trace: Mutex<Trace>,
    calm: AtomicBool,
    start: Instant,
    aloud: bool,
}

/// Everything that happened, as one number.
#[derive(Debug, Default)]
struct Trace {
    hash: u64,
    steps: u64,
}

/// What a run left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, aloud: bool) -> Arc<Self> {
        let dice = Dice::new(mix(&[seed, 1]));
        let plan = Plan::draw(&dice);
        Self::with_plan(seed, plan, dice, bug, aloud)
    }

    pub(crate) fn with_plan(seed: u64, plan: Plan, dice: Dice, bug: Option<Bug>, aloud: bool) -> Arc<Self> {
        Arc::new(Self {
            seed,
            plan,
            bug,
            dice,
            ledger: Ledger::default(),
            trace: Mutex::default(),
            calm: AtomicBool::new(false),
            start: Instant::now(),
            aloud,
        })
    }

    /// One step of the run: it becomes part of the trace, and the books are checked.
    pub(crate) fn step(&self, what: &str, who: u64, detail: u64) {
        {
            let mut trace = lock(&self.trace);
            let tag = what.bytes().fold(0, |tag, byte| mix(&[tag, u64::from(byte)]));
            trace.hash = mix(&[trace.hash, self.elapsed().as_nanos() as u64, tag, who, detail]);
            trace.steps += 1;
        }
        self.note(|| format!("{what} {who} {detail}"));
        self.ledger.check_accepted(self);
    }

    /// For whoever reads along: says what happened, and is no part of the trace.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            eprintln!("{:>10.3} {}", self.elapsed().as_secs_f64(), what());
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let trace = lock(&self.trace);
        Summary { hash: trace.hash, steps: trace.steps }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// No more faults from here on.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// How long something takes.
    pub(crate) fn delay(&self) -> Duration {
        if self.is_calm() {
            return Duration::from_millis(1);
        }
        if self.dice.per_mille(self.plan.stalls) {
            return self.dice.millis(500, 4_000);
        }
        match self.dice.below(100) {
            0..40 => Duration::ZERO,
            40..90 => self.dice.millis(1, 5),
            _ => self.dice.millis(5, 80),
        }
    }

    /// Waits as long as something takes; a moment that takes no time lets the others have a turn now and then.
    pub(crate) async fn take_time(&self) {
        let delay = self.delay();
        if delay.is_zero() {
            if self.dice.per_mille(500) {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(delay).await;
        }
    }

    /// How many records a reader gets at once.
    pub(crate) fn batch_records(&self) -> usize {
        let most = self.plan.batch_records;
        usize::try_from(if self.is_calm() { most } else { self.dice.within(1, most) }).unwrap_or(1)
    }

    /// Whether this call fails.
    pub(crate) fn fails(&self) -> bool {
        !self.is_calm() && self.dice.per_mille(self.plan.failures)
    }
}

/// The wall clock of one process: it may jump.
#[derive(Debug)]
pub(crate) struct JumpyClock {
    start: Instant,
    offset: AtomicI64,
}

impl JumpyClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), offset: AtomicI64::new(0) })
    }

    pub(crate) fn jump(&self, millis: i64) {
        self.offset.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for JumpyClock {
    fn now(&self) -> UnixMillis {
        let millis = EPOCH_MILLIS + self.start.elapsed().as_millis() as u64;
        UnixMillis(millis.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }
}
