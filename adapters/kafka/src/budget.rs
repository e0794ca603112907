//! Room for appends: bytes that are on their way, and a wait for when there are too many.

use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    room: Notify,
    gauge: Gauge,
}

impl Budget {
    pub(crate) fn new(limit: usize, gauge: Gauge) -> Self {
        Self { used: AtomicUsize::new(0), limit, room: Notify::new(), gauge }
    }

    /// Waits until less than the limit is used.
    pub(crate) async fn ready(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the check: a `give_back` in between is not missed.
            room.as_mut().enable();
            if self.used.load(Ordering::Relaxed) < self.limit {
                return;
            }
            room.await;
        }
    }

    /// Takes room, whether or not it is there.
    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.inc_by(to_gauge(bytes));
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.dec_by(to_gauge(bytes));
        if before >= self.limit && before - bytes < self.limit {
            self.room.notify_waiters();
        }
    }
}

fn to_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_full_budget_makes_callers_wait_until_there_is_room() {
        let gauge = Gauge::default();
        let budget = Arc::new(Budget::new(100, gauge.clone()));
        budget.ready().await;
        budget.take(70);
        budget.ready().await;
        budget.take(70);
        assert_eq!(gauge.get(), 140);
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        budget.give_back(70);
        waiting.await.unwrap();
        assert_eq!(gauge.get(), 70);
    }
}
