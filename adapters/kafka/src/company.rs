//! Company for appends: a partition that was sent something a moment ago lets the next ones wait for each other, and they go together.
//!
//! librdkafka without a linger makes a request of whatever is there whenever it may make one. Under load that is a few records each,
//! and a request costs the broker and this process far more than a record does. With a linger every append waits, also the one
//! that is alone. This is between the two: an append whose partition was idle for [`Company::linger`] goes at once, and until
//! that time is over again others wait, all partitions for the same moment. What is enough for a request of its own never waits.
//!
//! Pure, but for the lock and the alarm: time is told, and what is handed on, and where to, is the caller's.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// So much together, in bytes, goes at once: more company would not make it cheaper.
const ENOUGH: usize = 256 << 10;

#[derive(Debug)]
struct Strand<T> {
    waiting: Vec<T>,
    bytes: usize,
    /// Until then what comes waits. `None`: nothing was sent yet.
    busy_until: Option<Instant>,
}

impl<T> Strand<T> {
    fn hand_on<E>(&mut self, busy_until: Instant, hand: impl FnMut(T) -> Result<(), E>) -> Vec<E> {
        self.bytes = 0;
        self.busy_until = Some(busy_until);
        self.waiting.drain(..).map(hand).filter_map(Result::err).collect()
    }
}

/// When those that wait are to go.
#[derive(Debug, Default)]
struct Alarm {
    at: Option<Instant>,
    closed: bool,
}

/// What waits for company, strand by strand. Without a bound of its own: callers wait for room before they append.
#[derive(Debug)]
pub(crate) struct Company<T> {
    strands: Vec<Mutex<Strand<T>>>,
    linger: Duration,
    alarm: Mutex<Alarm>,
    rings: Condvar,
    /// Nobody waits any more.
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Company<T> {
    /// `linger` of zero: nobody ever waits.
    pub(crate) fn new(strands: usize, linger: Duration) -> Self {
        let strand = || Mutex::new(Strand { waiting: Vec::new(), bytes: 0, busy_until: None });
        Self {
            strands: (0..strands).map(|_| strand()).collect(),
            linger,
            alarm: Mutex::default(),
            rings: Condvar::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Hands an item of `bytes` on, and what waits before it, or keeps it for the next [`let_go`](Self::let_go). Returns the errors of
    /// what could not be handed on.
    ///
    /// `hand` is called in the order of the items of a strand, and with a lock held: it must not come back here.
    pub(crate) fn join<E>(
        &self,
        strand: usize,
        item: T,
        bytes: usize,
        now: Instant,
        hand: impl FnMut(T) -> Result<(), E>,
    ) -> Vec<E> {
        let mut strand = lock(&self.strands[strand]);
        let first = strand.waiting.is_empty();
        strand.waiting.push(item);
        strand.bytes += bytes;
        match strand.busy_until.filter(|until| *until > now) {
            // Under the lock: who closes looks at every strand afterwards.
            Some(until) if strand.bytes < ENOUGH && !self.closed.load(Ordering::Acquire) => {
                drop(strand);
                if first {
                    self.set_alarm(until);
                }
                Vec::new()
            }
            _ => strand.hand_on(now + self.linger, hand),
        }
    }

    /// Hands everything on that waits, whichever strand's moment has come: one wake-up for all.
    pub(crate) fn let_go<E>(&self, now: Instant, mut hand: impl FnMut(T) -> Result<(), E>) -> Vec<E> {
        let mut failed = Vec::new();
        for strand in &self.strands {
            let mut strand = lock(strand);
            if !strand.waiting.is_empty() {
                failed.append(&mut strand.hand_on(now + self.linger, &mut hand));
            }
        }
        failed
    }

    fn set_alarm(&self, at: Instant) {
        let mut alarm = lock(&self.alarm);
        // One that is set is soon enough: it is at most a linger away.
        if alarm.at.is_none() {
            alarm.at = Some(at);
            drop(alarm);
            self.rings.notify_one();
        }
    }

    /// Blocks until something has waited long enough. `false`: it is closed.
    pub(crate) fn wait(&self) -> bool {
        let mut alarm = lock(&self.alarm);
        while !alarm.closed {
            let Some(at) = alarm.at else {
                alarm = self.rings.wait(alarm).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                alarm.at = None;
                return true;
            }
            alarm = self.rings.wait_timeout(alarm, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// From now on nobody waits; what waits already is for one more [`let_go`](Self::let_go).
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.alarm).closed = true;
        self.rings.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    const LINGER: Duration = Duration::from_millis(1);

    /// Where items are handed to; refuses those above 100.
    #[derive(Debug, Default)]
    struct Road(RefCell<Vec<u32>>);

    impl Road {
        fn hand(&self) -> impl FnMut(u32) -> Result<(), u32> {
            |item| {
                if item > 100 {
                    return Err(item);
                }
                self.0.borrow_mut().push(item);
                Ok(())
            }
        }

        fn took(&self) -> Vec<u32> {
            self.0.take()
        }
    }

    const NONE: [u32; 0] = [];

    #[test]
    fn an_idle_strand_waits_for_nobody_and_what_comes_soon_after_goes_together() {
        let (company, road, began) = (Company::new(2, LINGER), Road::default(), Instant::now());
        for item in [1, 2, 3] {
            assert_eq!(company.join(0, item, 10, began, road.hand()), NONE);
        }
        company.join(1, 9, 10, began, road.hand());
        assert_eq!(road.took(), [1, 9], "another strand is idle");
        company.join(1, 10, 10, began, road.hand());
        assert!(company.wait());
        assert!(began.elapsed() >= LINGER);
        company.let_go(began + LINGER, road.hand());
        assert_eq!(road.took(), [2, 3, 10]);
        company.join(0, 4, 10, began + LINGER, road.hand());
        assert_eq!(road.took(), NONE, "it was sent something just now");
        company.let_go(began + 2 * LINGER, road.hand());
        company.join(0, 5, 10, began + 3 * LINGER, road.hand());
        assert_eq!(road.took(), [4, 5], "idle again");
    }

    #[test]
    fn without_a_linger_nobody_waits() {
        let (company, road, now) = (Company::new(1, Duration::ZERO), Road::default(), Instant::now());
        for item in [1, 2, 3] {
            company.join(0, item, 10, now, road.hand());
        }
        assert_eq!(road.took(), [1, 2, 3]);
    }

    #[test]
    fn enough_for_a_request_of_its_own_never_waits() {
        let (company, road, now) = (Company::new(1, LINGER), Road::default(), Instant::now());
        company.join(0, 1, ENOUGH, now, road.hand());
        company.join(0, 2, ENOUGH, now, road.hand());
        assert_eq!(road.took(), [1, 2]);
        company.join(0, 3, 1, now, road.hand());
        assert_eq!(road.took(), NONE);
        company.join(0, 4, ENOUGH - 1, now, road.hand());
        assert_eq!(road.took(), [3, 4]);
    }

    #[test]
    fn what_cannot_be_handed_on_is_told() {
        let (company, road, now) = (Company::new(1, LINGER), Road::default(), Instant::now());
        assert_eq!(company.join(0, 101, 1, now, road.hand()), [101]);
        company.join(0, 102, 1, now, road.hand());
        company.join(0, 1, 1, now, road.hand());
        assert_eq!(company.let_go(now, road.hand()), [102]);
        assert_eq!(road.took(), [1]);
    }

    #[test]
    fn at_the_end_nobody_waits() {
        let (company, road, now) = (Company::new(1, LINGER), Road::default(), Instant::now());
        company.join(0, 1, 1, now, road.hand());
        company.join(0, 2, 1, now, road.hand());
        company.close();
        assert!(!company.wait());
        company.let_go(now, road.hand());
        company.join(0, 3, 1, now, road.hand());
        assert_eq!(road.took(), [1, 2, 3]);
    }

    proptest! {
        /// Whatever comes when: the order of a strand is kept, nothing is lost, and what waits has an alarm.
        #[test]
        fn everything_goes_once_and_in_order(steps in proptest::collection::vec((0..4u32, 0..2usize, 0..=ENOUGH), 0..200)) {
            let (company, road) = (Company::new(2, LINGER), RefCell::new([Vec::new(), Vec::new()]));
            let (mut came, mut now) = ([0usize; 2], Instant::now());
            let hand = |item: (usize, usize)| -> Result<(), ()> {
                road.borrow_mut()[item.0].push(item.1);
                Ok(())
            };
            for (step, strand, bytes) in steps {
                match step {
                    0 => now += LINGER / 3,
                    1 if lock(&company.alarm).at.take_if(|at| *at <= now).is_some() => {
                        prop_assert!(company.let_go(now, hand).is_empty());
                        prop_assert_eq!(road.borrow().each_ref().map(Vec::len), came);
                    }
                    _ => {
                        prop_assert!(company.join(strand, (strand, came[strand]), bytes, now, hand).is_empty());
                        came[strand] += 1;
                    }
                }
                for went in road.borrow().iter() {
                    prop_assert_eq!(went, &(0..went.len()).collect::<Vec<_>>());
                }
                if road.borrow().each_ref().map(Vec::len) != came {
                    prop_assert!(lock(&company.alarm).at.is_some_and(|at| at <= now + LINGER), "somebody waits for ever");
                }
            }
        }
    }
}
