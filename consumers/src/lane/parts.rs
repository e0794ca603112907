//! Where an attempt's parts go before its result.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use futures_util::future::BoxFuture;
use nimbus_core::{
    Event,
    ports::{
        executor::{InterimKind, Output, PartSink},
        log::Stored,
    },
};
use tokio::sync::Semaphore;

use super::cx::{Numbers, PartitionCx};

/// One attempt's parts. Costs nothing until the first one is emitted.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    cx: &'a PartitionCx,
    stored: &'a Stored<Event>,
    attempt: u32,
    /// Shared by the attempts of one event: how many of its parts may be emitted and not yet durable.
    budget: &'a OnceLock<Arc<Semaphore>>,
    emitted: AtomicU32,
    too_large: AtomicBool,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        cx: &'a PartitionCx,
        stored: &'a Stored<Event>,
        attempt: u32,
        budget: &'a OnceLock<Arc<Semaphore>>,
    ) -> Self {
        Self { cx, stored, attempt, budget, emitted: AtomicU32::new(0), too_large: AtomicBool::new(false) }
    }

    /// How many parts were put out: the number of the record that follows them.
    pub(super) fn emitted(&self) -> u32 {
        self.emitted.load(Ordering::Relaxed)
    }

    /// Whether a part was larger than a delivery may be. The event then fails, whatever the attempt returns.
    pub(super) fn too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    fn budget(&self) -> Arc<Semaphore> {
        let config = &self.cx.runtime.config;
        Arc::clone(self.budget.get_or_init(|| Arc::new(Semaphore::new(config.parts_in_flight.get()))))
    }
}

impl PartSink for Parts<'_> {
    fn emit(&self, kind: InterimKind, output: Output) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let numbers = |part_no| Numbers { attempt: self.attempt, part_no, now: self.cx.now() };
            let is_small_enough = fits(&output, self.cx.runtime.config.max_result_bytes)
                && self.cx.fits(self.stored, numbers(self.emitted()), &output);
            if !is_small_enough {
                self.too_large.store(true, Ordering::Relaxed);
            }
            if self.too_large() {
                return;
            }
            // The semaphore is never closed; were it, the part would only go unbudgeted.
            let permit = self.budget().acquire_owned().await.ok();
            let part_no = self.emitted.fetch_add(1, Ordering::Relaxed);
            self.cx.part(self.stored, numbers(part_no), kind.into(), output, permit);
        })
    }
}

/// Whether a result or part is small enough to be delivered.
pub(super) fn fits(output: &Output, max_bytes: usize) -> bool {
    let attributes: usize = output.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    output.payload.len() + output.content_type.as_str().len() + attributes <= max_bytes
}
