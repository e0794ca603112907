//! What the two lanes do differently: which events may run beside which, and what a commit says.

use std::{collections::VecDeque, sync::Arc};

use nimbus_core::{
    ClientId, Event, Offset, Position,
    ports::log::{Batch, Stored},
};
use tracing::warn;

use super::{
    clients::{Clients, Offered},
    tracker::CommitTracker,
    window::{Admission, JobsWindow},
    work::{Route, Work},
};
use crate::ExecutorConfig;

/// What became of an event that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in hand.
    InHand,
    /// It is not needed, or stays in the log for now; go on behind it.
    Passed,
    /// Nothing more can be taken before something is finished.
    Full,
}

/// One lane's order of things in one partition.
pub(super) trait Schedule: Send + 'static {
    /// Begins at a position. `notes` are what a predecessor noted at `committed`, for this lane.
    fn begin(read: Position, committed: Position, notes: &[u8], config: &ExecutorConfig) -> Self;
    /// Offers the event at `index` of a batch, which is this lane's to answer.
    fn offer(&mut self, batch: &Arc<[Stored<Event>]>, index: usize, route: Route) -> Taken;
    /// Whether an event of the client would be taken in hand if it were offered now.
    fn would_take(&self, client: &ClientId) -> bool;
    /// The next run to start.
    fn start(&mut self) -> Option<(Option<ClientId>, VecDeque<Work>)>;
    /// A run ended.
    fn ended(&mut self, client: Option<&ClientId>, events: usize, queue: VecDeque<Work>);
    /// Everything before `position` was offered.
    fn read_to(&mut self, position: Position);
    /// Where the next batch begins.
    fn read(&self) -> Position;
    /// The event's answer is durable.
    fn settle(&mut self, offset: Offset);
    /// Everything before this is finished, and may be committed.
    fn finished(&self) -> Position;
    /// What is to be noted with it.
    fn notes(&self) -> Vec<u8> {
        Vec::new()
    }
    /// How many events are taken and not settled.
    fn in_hand(&self) -> usize;

    /// Where the log has to be read again now, for events that were left in it.
    fn begin_scan(&mut self) -> Option<Position> {
        None
    }
    /// Offers an event that was read again; `room` is false when the partition has too many in hand.
    fn offer_again(&mut self, _batch: &Arc<[Stored<Event>]>, _index: usize, _route: Route, _room: bool) -> Taken {
        Taken::Passed
    }
    /// The log was read again up to `next`; says whether it has to be read on there.
    fn scanned(&mut self, _next: Position) -> bool {
        false
    }
    /// How many clients have events left in the log.
    fn parked(&self) -> usize {
        0
    }
}

/// One event of a client at a time, clients in parallel.
#[derive(Debug)]
pub(super) struct Ordered {
    clients: Clients<Work>,
    tracker: CommitTracker,
}

impl Schedule for Ordered {
    fn begin(read: Position, _committed: Position, _notes: &[u8], config: &ExecutorConfig) -> Self {
        Self { clients: Clients::new(config.max_in_hand_per_client.get()), tracker: CommitTracker::new(read) }
    }

    fn offer(&mut self, batch: &Arc<[Stored<Event>]>, index: usize, route: Route) -> Taken {
        let stored = &batch[index];
        let work = |waits| hold(batch, index, route, waits);
        match self.clients.offer(&stored.record.origin.client, stored.offset, work) {
            Offered::Taken => {
                self.tracker.open(stored.offset);
                Taken::InHand
            }
            Offered::Left => Taken::Passed,
        }
    }

    fn would_take(&self, client: &ClientId) -> bool {
        self.clients.would_take(client)
    }

    fn start(&mut self) -> Option<(Option<ClientId>, VecDeque<Work>)> {
        self.clients.start().map(|(client, queue)| (Some(client), queue))
    }

    fn ended(&mut self, client: Option<&ClientId>, events: usize, queue: VecDeque<Work>) {
        if let Some(client) = client {
            self.clients.ended(client, events, queue);
        }
    }

    fn read_to(&mut self, position: Position) {
        self.tracker.read_to(position);
    }

    fn read(&self) -> Position {
        self.tracker.read()
    }

    fn settle(&mut self, offset: Offset) {
        self.tracker.settle(offset);
    }

    fn finished(&self) -> Position {
        let position = self.tracker.position();
        self.clients.parked_from().map_or(position, |parked| position.min(parked))
    }

    fn in_hand(&self) -> usize {
        self.tracker.in_hand()
    }

    fn begin_scan(&mut self) -> Option<Position> {
        self.clients.begin_scan()
    }

    fn offer_again(&mut self, batch: &Arc<[Stored<Event>]>, index: usize, route: Route, room: bool) -> Taken {
        let stored = &batch[index];
        // Beyond what was read for everyone, the event is nobody's yet.
        if self.tracker.read().covers(stored.offset) {
            let work = |waits| hold(batch, index, route, waits);
            if self.clients.offer_again(&stored.record.origin.client, stored.offset, room, work) == Offered::Taken {
                self.tracker.open(stored.offset);
                return Taken::InHand;
            }
        }
        Taken::Passed
    }

    fn scanned(&mut self, next: Position) -> bool {
        self.clients.scanned(next, self.tracker.read())
    }

    fn parked(&self) -> usize {
        self.clients.parked()
    }
}

fn hold(batch: &Arc<[Stored<Event>]>, index: usize, route: Route, waits: bool) -> Work {
    let work = Work::new(batch, index, route);
    if waits { work.detached() } else { work }
}

/// Every event by itself.
#[derive(Debug)]
pub(super) struct Jobs {
    window: JobsWindow,
    waiting: VecDeque<Work>,
}

impl Schedule for Jobs {
    fn begin(read: Position, committed: Position, notes: &[u8], config: &ExecutorConfig) -> Self {
        let mut window = JobsWindow::new(read, config.jobs_window);
        if let Err(error) = window.restore(committed, notes) {
            warn!(%error, position = %committed, "jobs that were answered will be executed again");
        }
        Self { window, waiting: VecDeque::new() }
    }

    fn offer(&mut self, batch: &Arc<[Stored<Event>]>, index: usize, route: Route) -> Taken {
        match self.window.admit(batch[index].offset) {
            Admission::Execute => {
                // Jobs take long by definition.
                self.waiting.push_back(hold(batch, index, route, true));
                Taken::InHand
            }
            Admission::Answered => Taken::Passed,
            Admission::Full => Taken::Full,
        }
    }

    /// Only the window knows, and it admits by offset.
    fn would_take(&self, _client: &ClientId) -> bool {
        false
    }

    fn start(&mut self) -> Option<(Option<ClientId>, VecDeque<Work>)> {
        self.waiting.pop_front().map(|job| (None, VecDeque::from([job])))
    }

    fn ended(&mut self, _client: Option<&ClientId>, _events: usize, _queue: VecDeque<Work>) {}

    fn read_to(&mut self, position: Position) {
        self.window.read_to(position);
    }

    fn read(&self) -> Position {
        self.window.read()
    }

    fn settle(&mut self, offset: Offset) {
        self.window.settle(offset);
    }

    fn finished(&self) -> Position {
        self.window.position()
    }

    fn notes(&self) -> Vec<u8> {
        self.window.notes()
    }

    fn in_hand(&self) -> usize {
        self.window.in_hand()
    }
}

/// A batch on its way into hand.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) batch: Batch<Event>,
    pub(super) index: usize,
}
