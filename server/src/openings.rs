//! Sessions open a few at a time.
//!
//! An opening costs the mailbox several answers. After an outage thousands of clients come in one moment, and if all of their
//! questions stood in the queue at once, the results of those who are connected would wait behind them. So only a few of each
//! partition are asked at a time and the others wait here, in the order in which they came, where they cost nobody anything.
//!
//! By partition, because partitions may live on different nodes: one that does not answer holds up nobody else's clients.

use nimbus_core::Partition;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::Counted;

/// Enough to keep a mailbox busy that is a millisecond away, and few enough that what waits behind them does not notice.
const AT_ONCE: usize = 8;

/// Those that open, and those that wait to.
#[derive(Debug)]
pub(crate) struct Openings {
    by_partition: Vec<Semaphore>,
    waiting: Gauge,
}

impl Openings {
    /// `waiting` counts those that wait.
    pub(crate) fn new(partitions: usize, waiting: Gauge) -> Self {
        Self { by_partition: (0..partitions).map(|_| Semaphore::new(AT_ONCE)).collect(), waiting }
    }

    /// Waits until a session of this partition may open; it has its place until the permit is dropped. Cancel safe: who is
    /// dropped loses its place in the queue.
    pub(crate) async fn turn(&self, partition: Partition) -> SemaphorePermit<'_> {
        let semaphore = &self.by_partition[partition.0 as usize];
        if let Ok(permit) = semaphore.try_acquire() {
            return permit;
        }
        let _waiting = Counted::new(&self.waiting);
        match semaphore.acquire().await {
            Ok(permit) => permit,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::poll_immediate};

    use super::*;

    #[tokio::test]
    async fn the_ones_too_many_wait_in_order_and_other_partitions_do_not() {
        let waiting = Gauge::default();
        let openings = Openings::new(2, waiting.clone());
        let turn = || Box::pin(openings.turn(Partition(0)));
        let mut open: Vec<_> = (0..AT_ONCE).map(|_| turn().now_or_never().unwrap()).collect();
        let (mut first, mut second) = (turn(), turn());
        assert!(poll_immediate(&mut first).await.is_none() && poll_immediate(&mut second).await.is_none());
        assert_eq!(waiting.get(), 2);
        assert!(openings.turn(Partition(1)).now_or_never().is_some());
        open.pop();
        assert!(poll_immediate(&mut second).await.is_none(), "it came later");
        let first = poll_immediate(&mut first).await;
        assert!(first.is_some());
        drop(second);
        assert_eq!(waiting.get(), 0);
        drop(first);
        assert!(turn().now_or_never().is_some(), "who gave up has no place in the queue");
    }
}
