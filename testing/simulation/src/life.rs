//! One incarnation of a process, and the gate through which everything goes that it does to the outside.
//!
//! A killed incarnation's gate never opens again: whatever is left of its tasks can do no harm. A zombie's gate is closed for
//! a while, long enough for others to take its work over, and opens again.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::{lock, world::World};

/// Names incarnations, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Births(AtomicU64);

impl Births {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) id: u64,
    pub(crate) world: Arc<World>,
    gate: Mutex<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    dead: bool,
    held_until: Option<Instant>,
}

impl Life {
    pub(crate) fn new(id: u64, world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { id, world: Arc::clone(world), gate: Mutex::default() })
    }

    pub(crate) fn kill(&self) {
        lock(&self.gate).dead = true;
    }

    pub(crate) fn hold(&self, until: Instant) {
        lock(&self.gate).held_until = Some(until);
    }

    pub(crate) fn is_dead(&self) -> bool {
        lock(&self.gate).dead
    }

    /// Until when nothing gets through, if it is held.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        lock(&self.gate).held_until.filter(|until| *until > Instant::now())
    }

    /// Waits until the gate is open: for ever if the incarnation was killed.
    pub(crate) async fn pass(&self) {
        loop {
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            let Some(until) = self.held_until() else { return };
            tokio::time::sleep_until(until).await;
        }
    }

    /// A call on its way to whoever serves it.
    pub(crate) async fn request(&self, what: &str, detail: u64) {
        self.pass().await;
        self.world.take_time().await;
        self.world.step(what, self.id, detail);
    }

    /// The answer on its way back.
    pub(crate) async fn answer(&self) {
        self.world.take_time().await;
        self.pass().await;
    }
}
