//! Wakes streams when the turns of their events come, in an open loop.
//!
//! A thread of its own: the runtime's timer counts milliseconds, which is more than a round trip takes. If it oversleeps or is
//! kept from a core, events leave late; that is counted where they leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::stream::{feed::Feed, turns::Turns};

/// Shortest pause between two looks: a thread that is woken for each of a million events a second does nothing else.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);

/// Runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Pacer {
    /// `turns` are those of all streams together, `last` the last of them; `base` is when their clock began.
    pub(crate) fn spawn(feeds: Vec<Arc<Feed>>, turns: Turns, last: u64, base: Instant) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut pace = Pace { turns, streams: feeds.len() as u64, done: 0, last };
        let thread = thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            let now = || u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX);
            while !stopped.load(Ordering::Acquire) {
                for number in pace.look(now()) {
                    feeds[number].wake();
                }
                let Some(next) = pace.next() else { return };
                thread::park_timeout(Duration::from_nanos(next.saturating_sub(now())).max(SHORTEST_PAUSE));
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends at once. If it panicked, events have left late, and the report says so.
            drop(thread.join());
        }
    }
}

/// Which turns have been seen. Pure.
#[derive(Debug)]
struct Pace {
    turns: Turns,
    streams: u64,
    done: u64,
    last: u64,
}

impl Pace {
    /// The streams that had a turn since the look before, each once.
    #[allow(clippy::cast_possible_truncation)]
    fn look(&mut self, now: u64) -> impl Iterator<Item = usize> + use<> {
        let come = self.turns.come(now).min(self.last);
        let from = self.done.max(come.saturating_sub(self.streams));
        self.done = come;
        let streams = self.streams;
        (from..come).map(move |turn| (turn % streams) as usize)
    }

    /// When to look again; never after the last turn.
    fn next(&self) -> Option<u64> {
        (self.done < self.last).then(|| self.turns.of(self.done + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_woken_for_its_turn_and_once_however_many_it_missed() {
        let mut pace = Pace { turns: Turns::of_all(1e9, 100), streams: 3, done: 0, last: 20 };
        let mut look = |now| pace.look(now).collect::<Vec<_>>();
        assert_eq!(look(99), [] as [usize; 0]);
        assert_eq!(look(100), [0]);
        assert_eq!(look(100), [] as [usize; 0]);
        assert_eq!(look(102), [1, 2]);
        assert_eq!(look(112), [1, 2, 0]);
        assert_eq!(pace.next(), Some(113));
        assert_eq!(pace.look(1000).count(), 3);
        assert_eq!(pace.next(), None);
    }
}
