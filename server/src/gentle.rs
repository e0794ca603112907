//! New connections, taken at a pace that leaves time for everybody who is there already.
//!
//! After an outage thousands of clients connect in one moment. Taken as they come, all of their handshakes stand in the runtime's queue
//! at once, and each stream that is open already waits for all of them, each time. So they are taken one at a time with a turn for
//! everybody in between, and a few in each tick: more and more while the ticks come when they should, half as many when one comes
//! late, which says that there is more to do than processors to do it (additive increase, multiplicative decrease, as TCP finds
//! its rate: Chiu and Jain, 1989). The others wait in the listener's backlog, where they cost nothing. On an idle server nobody waits.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a tick is.
const TICK: Duration = Duration::from_millis(10);
/// A tick that comes so much later than it should finds everybody busy. The timer's own step is a millisecond: with one as the limit
/// nearly every tick is late. With two or three an event waited 1.8 times as long beside 5,000 that came back, with this 1.5 to 1.7 times.
const LATE: Duration = Duration::from_micros(1_500);
/// However busy everybody is, so many are taken in a tick: 300 a second.
const FEWEST: u32 = 3;
/// Nobody needs more in a tick: 25,600 a second.
const MOST: u32 = 256;
/// So many more after each tick that came in time.
const MORE: u32 = 1;

/// How many may be taken in this tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    in_a_tick: u32,
    left: u32,
    /// When the last tick should have come.
    last: Instant,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { in_a_tick: FEWEST, left: FEWEST, last: now }
    }

    /// When the next tick is: a late one does not put off those after it, and two never come at once.
    fn next(&mut self, now: Instant) -> Instant {
        self.last = (self.last + TICK).max(now + TICK / 2);
        self.last
    }

    /// One was taken. Says whether it was the last of this tick.
    const fn took(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// The next tick came so much too late.
    fn tick(&mut self, late: Duration) {
        let next = if late > LATE { self.in_a_tick / 2 } else { self.in_a_tick + MORE };
        self.in_a_tick = next.clamp(FEWEST, MOST);
        self.left = self.in_a_tick;
    }
}

/// Takes items at that pace.
#[derive(Debug)]
pub(crate) struct Gentle<S> {
    items: S,
    pace: Pace,
    next: Next,
}

/// What comes before the next item.
#[derive(Debug)]
enum Next {
    /// Nothing.
    Item,
    /// A turn for everybody.
    Turn,
    /// The next tick.
    Tick(Pin<Box<Sleep>>),
}

impl<S> Gentle<S> {
    pub(crate) fn new(items: S) -> Self {
        Self { items, pace: Pace::new(Instant::now()), next: Next::Item }
    }
}

impl<S: Stream + Unpin> Stream for Gentle<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = &mut *self;
        match &mut this.next {
            Next::Item => {}
            Next::Turn => {
                this.next = Next::Item;
                // A task that wakes itself goes behind all that are ready.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Next::Tick(tick) => {
                ready!(tick.as_mut().poll(cx));
                this.pace.tick(tick.deadline().elapsed());
                this.next = Next::Item;
            }
        }
        let item = ready!(this.items.poll_next_unpin(cx));
        this.next = match this.pace.took() {
            true => Next::Tick(Box::pin(sleep_until(this.pace.next(Instant::now())))),
            false => Next::Turn,
        };
        Poll::Ready(item)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn whoever_is_ready_has_a_turn_between_two_connections() {
        let order = Arc::new(Mutex::new(String::new()));
        let taking = ['a', 'b'].map(|name| {
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                let mut items = Gentle::new(stream::iter(0..3));
                while items.next().await.is_some() {
                    order.lock().unwrap().push(name);
                }
            })
        });
        for taking in taking {
            taking.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "ababab");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_at_once_are_taken_in_ticks_and_more_in_each_of_them() {
        let began = Instant::now();
        let mut items = Gentle::new(stream::iter(0..100));
        let mut by_tick = vec![0];
        while items.next().await.is_some() {
            let tick = usize::try_from(began.elapsed().as_millis() / TICK.as_millis()).unwrap();
            by_tick.resize(tick + 1, 0);
            by_tick[tick] += 1;
        }
        assert_eq!(by_tick[..4], [3, 4, 5, 6]);
    }

    #[test]
    fn a_late_tick_does_not_put_off_the_next_one_and_two_never_come_at_once() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut pace = Pace::new(began);
        assert_eq!([0, 13, 39, 1_000].map(|now| pace.next(at(now))), [10, 20, 44, 1_005].map(at));
    }

    #[test]
    fn late_ticks_halve_what_is_taken_and_never_end_it() {
        let mut pace = Pace::new(Instant::now());
        (0..1_000).for_each(|_| pace.tick(Duration::from_millis(1)));
        assert_eq!(pace.in_a_tick, MOST);
        let halves: Vec<_> = (0..8)
            .map(|_| {
                pace.tick(Duration::from_millis(20));
                pace.left
            })
            .collect();
        assert_eq!(halves, [128, 64, 32, 16, 8, 4, 3, 3]);
        assert!((0..2).all(|_| !pace.took()) && pace.took());
    }
}
