//! Fair shares: what one client may send while others want to be heard too.
//!
//! A client that sends without a break would take whatever the machine has, and everybody else waits behind it. So it is held back,
//! by not reading its stream for a while (nothing is refused, and flow control tells the client to wait), as soon as it sends
//! more than a fair rate *and* more than twice as much as all other clients of this server together. (Not just as much: two that send
//! all they can would keep each other where they are.) A client that is alone is never held: there is nobody to be fair to.
//!
//! The rule is a token bucket whose rate follows the traffic of the others. It looks at the last moment, so it is an estimate, and
//! that is enough: it bounds what one client costs the others, and is no quota. A quota is the [rate limit](crate::rate).

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// What was sent is counted by slices of this. Short, so that clients which all begin to send much find their rates soon: these
/// double with each.
const SLICE: Duration = Duration::from_millis(250);
/// A client may send this many times what all others do.
const OTHERS: f64 = 2.0;
/// What a client may send at once after a pause: as much as in this time at its rate.
const BURST: Duration = Duration::from_millis(100);
/// An event weighs one, and one more for each of these: large payloads take their share of the machine too.
const BYTES_PER_UNIT: usize = 4 * 1024;

/// What an event counts.
pub(crate) const fn weight(payload_bytes: usize) -> u64 {
    1 + (payload_bytes / BYTES_PER_UNIT) as u64
}

/// What all streams of a server send together.
#[derive(Debug)]
pub(crate) struct Shares {
    /// By weight, a second; `None`: nobody is held.
    fair: Option<NonZeroU32>,
    began: Instant,
    slice: AtomicU64,
    current: AtomicU64,
    last: AtomicU64,
}

impl Shares {
    pub(crate) fn new(fair: Option<NonZeroU32>) -> Self {
        let none = AtomicU64::default;
        Self { fair, began: Instant::now(), slice: none(), current: none(), last: none() }
    }

    fn slice_of(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.began).as_nanos() / SLICE.as_nanos()) as u64
    }

    /// Counts what a stream sent. Whoever comes first in a slice closes the one before; of streams that come in the same moment, some
    /// may be counted in the wrong one.
    fn count(&self, slice: u64, weight: u64) {
        let before = self.slice.load(Ordering::Relaxed);
        if before < slice && self.slice.compare_exchange(before, slice, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let closed = self.current.swap(0, Ordering::Relaxed);
            self.last.store(if before + 1 == slice { closed } else { 0 }, Ordering::Relaxed);
        }
        self.current.fetch_add(weight, Ordering::Relaxed);
    }
}

/// What one stream has sent, and whether it is to wait.
#[derive(Debug)]
pub(crate) struct Share {
    slice: u64,
    current: u64,
    last: u64,
    /// May be below zero: a turn is taken as a whole.
    tokens: f64,
    filled: Instant,
    until: Option<Instant>,
}

impl Share {
    /// Of a stream that opens.
    pub(crate) fn new(now: Instant) -> Self {
        Self { slice: 0, current: 0, last: 0, tokens: 0.0, filled: now, until: None }
    }

    /// It sent so much, and may be held from now on.
    pub(crate) fn take(&mut self, weight: u64, now: Instant, shares: &Shares) {
        let Some(fair) = shares.fair.filter(|_| weight > 0) else { return };
        let slice = shares.slice_of(now);
        shares.count(slice, weight);
        if self.slice < slice {
            self.last = if self.slice + 1 == slice { self.current } else { 0 };
            (self.slice, self.current) = (slice, 0);
        }
        self.current += weight;
        let others = shares.last.load(Ordering::Relaxed).saturating_sub(self.last);
        let others = others.max(shares.current.load(Ordering::Relaxed).saturating_sub(self.current));
        let pause = now.saturating_duration_since(std::mem::replace(&mut self.filled, now));
        if others == 0 {
            self.tokens = 0.0;
            return;
        }
        let rate = f64::from(fair.get()).max(OTHERS * others as f64 / SLICE.as_secs_f64());
        let most = rate * BURST.as_secs_f64();
        self.tokens = (self.tokens + rate * pause.as_secs_f64()).min(most) - weight as f64;
        if self.tokens < 0.0 {
            self.until = Some(now + Duration::from_secs_f64(-self.tokens / rate));
        }
    }

    /// Until when the stream is not to be read.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.until
    }

    /// The time goes on.
    pub(crate) fn pass(&mut self, now: Instant) {
        self.until = self.until.filter(|until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIR: u32 = 5_000;

    /// Streams that send what they may, some of them no more than they want to.
    struct World {
        shares: Shares,
        now: Instant,
        streams: Vec<(Share, u64)>,
    }

    impl World {
        fn new(streams: usize) -> Self {
            let now = Instant::now();
            let streams = (0..streams).map(|_| (Share::new(now), 0)).collect();
            Self { shares: Shares { began: now, ..Shares::new(NonZeroU32::new(FAIR)) }, now, streams }
        }

        /// Each has `turn` events every millisecond and sends them if it is not held. Returns what each of them sent a second, the
        /// first one left out: by then it is known what all send.
        fn run(&mut self, turns: &[u64], seconds: u64) -> Vec<u64> {
            for ms in 0..(seconds + 1) * 1_000 {
                self.now += Duration::from_millis(1);
                for ((share, sent), turn) in self.streams.iter_mut().zip(turns) {
                    if ms == 1_000 {
                        *sent = 0;
                    }
                    share.pass(self.now);
                    if share.held_until().is_none() {
                        *sent += turn;
                        share.take(*turn, self.now, &self.shares);
                    }
                }
            }
            self.streams.iter().map(|(_, sent)| sent / seconds).collect()
        }
    }

    fn about(rate: u64, expected: u64) -> bool {
        rate.abs_diff(expected) <= expected / 10
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_is_not_held() {
        assert_eq!(World::new(1).run(&[256], 5), [256_000]);
        assert_eq!(World::new(3).run(&[0, 256, 0], 5), [0, 256_000, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn beside_quiet_ones_a_client_has_the_fair_rate() {
        let rates = World::new(2).run(&[1, 256], 10);
        assert_eq!(rates[0], 1_000, "who sends no more than the fair rate is not held");
        assert!(about(rates[1], u64::from(FAIR)), "{rates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn beside_busy_ones_it_has_twice_what_they_have_together() {
        let mut turns = vec![1; 20];
        turns.push(256);
        let rates = World::new(21).run(&turns, 10);
        assert!(rates[..20].iter().all(|rate| *rate == 1_000), "{rates:?}");
        assert!(about(rates[20], 40_000), "{rates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_all_send_much_do_not_hold_one_another() {
        for streams in [2, 3, 16] {
            let mut world = World::new(streams);
            world.run(&vec![64; streams], 5);
            assert_eq!(world.run(&vec![64; streams], 5), vec![64_000; streams]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_others_are_gone_it_is_free_again() {
        let mut world = World::new(2);
        assert!(world.run(&[1, 256], 5)[1] < 6_000);
        assert_eq!(world.run(&[0, 256], 5)[1], 256_000);
    }

    #[test]
    fn large_events_weigh_more() {
        assert_eq!((weight(0), weight(4_095), weight(4_096), weight(65_536)), (1, 1, 2, 17));
    }

    #[tokio::test(start_paused = true)]
    async fn off_holds_nobody() {
        let mut world = World::new(2);
        world.shares = Shares::new(None);
        assert_eq!(world.run(&[1, 256], 2), [1_000, 256_000]);
    }
}
