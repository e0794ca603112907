//! What a worker takes into hand: from the batch that was read last, and from the log again for clients that had too much.

use std::sync::Arc;

use nimbus_core::{
    Event, Position,
    ports::log::{Batch, LogError, LogRecord as _},
};
use tracing::{info, warn};

use super::{Worker, passing::end_of_log};
use crate::lane::{
    cx::taken_back,
    run::Halt,
    schedule::{Cursor, Schedule, Taken},
    work::Route,
};

/// How many events are taken at once; then their runs go first.
const ROUND: usize = 512;

/// How much is read at once when the log is read again.
const SCAN_BYTES: usize = 1 << 20;

impl<S: Schedule> Worker<S> {
    /// When names changed lanes: up to where the old notes count.
    pub(super) async fn look_at_change(&mut self) -> Result<(), Halt> {
        let Some(noted) = self.changed.take() else { return Ok(()) };
        let end = end_of_log(&self.cx).await?;
        info!(%end, "executors changed lanes, came or went; events up to here are looked at by both lanes");
        self.lanes.changed_at(noted, end);
        Ok(())
    }

    pub(super) fn may_take(&self) -> bool {
        !self.full && self.appends.has_room() && self.has_room()
    }

    /// Whether the partition may have more in hand.
    pub(super) fn has_room(&self) -> bool {
        let config = &self.cx.runtime.config;
        self.schedule.in_hand() < config.max_in_hand.get() && self.in_hand_bytes < config.max_in_hand_bytes.get()
    }

    /// Begins with a batch. What becomes of it is looked at before anything of it is taken.
    ///
    /// # Errors
    /// What was begun before was taken back. It is decided by now, unless both are of one write.
    pub(super) fn begin(&mut self, batch: Batch<Event>) -> Result<(), LogError> {
        if self.cx.is_taken_back() {
            return Err(taken_back());
        }
        if let Some(fate) = &batch.provisional {
            self.cx.take_early(fate.clone());
            self.fate = Some(Box::pin(fate.clone().is_durable()));
        }
        self.current = Some(Cursor { batch, index: 0 });
        Ok(())
    }

    /// Whether an event may be taken that is still being written. What follows from it must be its answer and nothing else:
    /// passing it over would finish it, and leaving it in the log would have it read again where it is not yet.
    fn may_begin_early(&self, event: &Event, route: Option<Route>) -> bool {
        let Some(Route::Executor(index)) = route else { return false };
        let pure = self.cx.entry(index).pure;
        pure && !self.appends.is_cautious() && self.schedule.would_take(&event.origin.client)
    }

    /// Takes some events of the current batch.
    pub(super) fn take_round(&mut self) {
        let Some(mut cursor) = self.current.take() else { return };
        let catalogue = &self.cx.runtime.catalogue;
        let records = &cursor.batch.records;
        let end = records.len().min(cursor.index + ROUND);
        while cursor.index < end && self.has_room() {
            let stored = &records[cursor.index];
            let route = Route::of(stored, self.cx.lane, catalogue, &self.lanes);
            let early = cursor.batch.provisional.is_some();
            if early && !self.may_begin_early(&stored.record, route) {
                self.waits_for_fate = true;
                break;
            }
            if let Some(route) = route {
                let taken = self.schedule.offer(records, cursor.index, route);
                debug_assert!(!early || taken == Taken::InHand, "it would be read again where it is not yet");
                match taken {
                    Taken::InHand => self.in_hand_bytes += stored.record.weight(),
                    Taken::Passed => {}
                    Taken::Full => {
                        self.full = true;
                        break;
                    }
                }
            }
            self.schedule.read_to(stored.offset.position_after());
            cursor.index += 1;
        }
        if cursor.index >= records.len() {
            self.schedule.read_to(cursor.batch.next);
        } else {
            self.current = Some(cursor);
        }
        self.note();
    }

    /// Takes what parked clients can have of a batch that was read again.
    pub(super) fn take_again(&mut self, batch: &Batch<Event>) {
        for (index, stored) in batch.records.iter().enumerate() {
            let Some(route) = Route::of(stored, self.cx.lane, &self.cx.runtime.catalogue, &self.lanes) else {
                continue;
            };
            let room = self.has_room();
            if self.schedule.offer_again(&batch.records, index, route, room) == Taken::InHand {
                self.in_hand_bytes += stored.record.weight();
            }
        }
        if self.schedule.scanned(batch.next) {
            self.scan_from(batch.next);
        }
        self.note();
    }

    pub(super) fn scan_from(&mut self, position: Position) {
        let (cx, mut failures) = (Arc::clone(&self.cx), 0);
        self.scan = Some(Box::pin(async move {
            let runtime = &cx.runtime;
            loop {
                match runtime.ports.events.read(cx.partition, position, SCAN_BYTES).await {
                    Err(error @ LogError::Unavailable(_)) => {
                        failures += 1;
                        warn!(%error, failures, "events that were left in the log cannot be read just now");
                        tokio::time::sleep(runtime.config.log_backoff.jittered(failures)).await;
                    }
                    read => return read,
                }
            }
        }));
    }
}
