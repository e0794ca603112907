//! One event in hand.

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{Event, Lane, ports::log::Stored};

use super::lanes::Lanes;
use crate::Catalogue;

/// One event in hand, and who is to answer it.
#[derive(Debug)]
pub(super) struct Work {
    held: Held,
    pub(super) route: Route,
}

/// Who answers an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The executor at this place of the catalogue.
    Executor(usize),
    /// Nobody knows its name.
    Unknown,
    /// The server refused it for good.
    Refused,
}

#[derive(Debug)]
enum Held {
    /// Within the batch it was read in. Quick, but keeps the whole batch in memory.
    Shared(Arc<[Stored<Event>]>, usize),
    /// By itself, for events that wait.
    Own(Box<Stored<Event>>),
}

impl Route {
    /// Who answers the event, if this lane is to see to it. Names that nobody knows and refused events are the ordered
    /// lane's: each event belongs to exactly one lane, except while the names change hands.
    pub(super) fn of(stored: &Stored<Event>, lane: Lane, catalogue: &Catalogue, lanes: &Lanes) -> Option<Self> {
        let event = &stored.record;
        if event.refused.is_some() {
            return (lane == Lane::Ordered).then_some(Self::Refused);
        }
        let entry = catalogue.find(&event.name);
        let owner = entry.map_or(Lane::Ordered, |entry| entry.lane);
        let is_ours = owner == lane || (!lanes.is_settled() && lanes.was(lane, &event.name, stored.offset));
        is_ours.then(|| entry.map_or(Self::Unknown, |entry| Self::Executor(entry.index)))
    }
}

impl Work {
    /// Takes the event at `index` of a batch in hand.
    pub(super) fn new(batch: &Arc<[Stored<Event>]>, index: usize, route: Route) -> Self {
        Self { held: Held::Shared(Arc::clone(batch), index), route }
    }

    pub(super) fn stored(&self) -> &Stored<Event> {
        match &self.held {
            Held::Shared(batch, index) => &batch[*index],
            Held::Own(stored) => stored,
        }
    }

    /// Lets go of the batch that the event was read in, payload and all, so that what waits long takes no more memory
    /// than its own.
    pub(super) fn detach(&mut self) {
        if let Held::Shared(batch, index) = &self.held {
            let mut stored = Box::new(batch[*index].clone());
            let event = &mut stored.record;
            event.payload = Bytes::copy_from_slice(&event.payload);
            event.edge_context = Bytes::copy_from_slice(&event.edge_context);
            self.held = Held::Own(stored);
        }
    }

    pub(super) fn detached(mut self) -> Self {
        self.detach();
        self
    }
}
