//! What a member of a consumer group has to do next: told by the coordinator and by the writer, asked by its consumer.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nimbus_core::{Partition, ports::log::Committed};
use tokio::sync::Notify;

/// What the coordinator tells a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Assigned { partition: Partition, committed: Committed },
    Revoked { partition: Partition },
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Control(Control),
    /// There may be records. Stays the next one until it is [`rotate`](Member::rotate)d or [`clear`](Member::clear)ed, so
    /// that a cancelled read loses nothing.
    Records(Partition),
    Nothing,
}

#[derive(Debug, Default)]
struct Inner {
    control: VecDeque<Control>,
    /// Partitions with records, fair among them.
    ready: VecDeque<Partition>,
    /// By partition: whether it is in `ready`.
    is_ready: Vec<bool>,
}

/// One member's inbox.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Member {
    pub(crate) fn new(id: u64, partitions: usize) -> Self {
        let inner = Inner { is_ready: vec![false; partitions], ..Inner::default() };
        Self { id, inner: Mutex::new(inner), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, control: Control) {
        self.lock().control.push_back(control);
        self.wake.notify_one();
    }

    /// A partition has records that were not there before.
    pub(crate) fn has_records(&self, partition: Partition) {
        let mut inner = self.lock();
        let Some(flag) = inner.is_ready.get_mut(partition.0 as usize) else { return };
        if !std::mem::replace(flag, true) {
            inner.ready.push_back(partition);
            drop(inner);
            self.wake.notify_one();
        }
    }

    pub(crate) fn next(&self) -> Work {
        let mut inner = self.lock();
        if let Some(control) = inner.control.pop_front() {
            return Work::Control(control);
        }
        inner.ready.front().map_or(Work::Nothing, |partition| Work::Records(*partition))
    }

    /// Waits until there may be something to do. A wake-up that came before is not lost.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Lets the other partitions have their turn.
    pub(crate) fn rotate(&self, partition: Partition) {
        let mut inner = self.lock();
        if inner.ready.front() == Some(&partition) {
            inner.ready.rotate_left(1);
        }
    }

    /// There is nothing to read in this partition, until [`has_records`](Self::has_records) says otherwise.
    pub(crate) fn clear(&self, partition: Partition) {
        let mut inner = self.lock();
        if let Some(flag) = inner.is_ready.get_mut(partition.0 as usize) {
            *flag = false;
        }
        inner.ready.retain(|ready| *ready != partition);
    }
}
