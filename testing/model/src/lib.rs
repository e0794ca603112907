//! The model: two servers, two routers, two clients, one partition, one Redis; claim, apply, notify, resume and release, each
//! as the separate steps that others can come between. Every interleaving within the bounds is visited.
//!
//! It exists because a random test meets the interleavings it meets. Safety is asked of every state, and so is
//! liveness: from every state a continuation without faults brings every client everything within a bounded number of
//! steps. What is left out, and how the model is held against the real code, says the README. In the worst case a bound is
//! too small to reach a bug: the model says nothing about what it does not visit.

pub mod action;
pub mod bounds;
pub mod bug;
pub mod continuation;
pub mod device;
pub mod ids;
pub mod log;
pub mod mailbox;
pub mod server;
pub mod session;
pub mod step;
pub mod world;

use stateright::{Model, Property};

use crate::{
    action::Action,
    bounds::Bounds,
    bug::Bug,
    continuation::{End, Memory},
    device::Breach,
    world::World,
};

/// What must hold in every state, by name.
pub mod promise {
    /// No result reaches another client's device.
    pub const RIGHT_CLIENT: &str = "results reach their own client only";
    /// One terminal answer per event at the SDK.
    pub const ONCE: &str = "an answer is handed over at most once";
    /// In the order of the events.
    pub const IN_ORDER: &str = "answers are handed over in order";
    /// A client never believes to have what it has not.
    pub const NOTHING_SKIPPED: &str = "no position passes an answer that did not come";
    /// GAP means that the log is gone.
    pub const REAL_GAPS: &str = "a gap is told only where the log is gone";
    /// Fences hold.
    pub const NO_STALE_WRITE: &str = "nobody stale changes shared state";
    /// Superseded is terminal, so only the old one may hear it.
    pub const NEWEST_STAYS: &str = "the newest session is never turned away";
    /// The mailbox is an index without holes.
    pub const COMPLETE_MAILBOX: &str = "the mailbox is complete between its floors and what is applied";
    /// Liveness.
    pub const DELIVERS: &str = "without further faults everything is delivered";
}

/// The model of one size, with at most one bug in it.
#[derive(Debug)]
pub struct Gateway {
    /// How much happens.
    pub bounds: Bounds,
    /// What is wrong with it.
    pub bug: Option<Bug>,
    /// If set, only this is asked.
    pub only: Option<&'static str>,
    /// Known continuations.
    pub memory: Memory,
}

impl Gateway {
    /// Without bugs, asked for everything.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, bug: None, only: None, memory: Memory::default() }
    }
}

impl Model for Gateway {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![step::begin(&self.bounds, self.bug)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // Beyond a breach too: another promise may be asked about what it does.
        action::all(world, &self.bounds, self.bug, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        step::step(&mut next, action, &self.bounds, self.bug);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(promise::RIGHT_CLIENT, |_, world: &World| world.breach != Some(Breach::WrongClient)),
            Property::always(promise::ONCE, |_, world: &World| world.breach != Some(Breach::Twice)),
            Property::always(promise::IN_ORDER, |_, world: &World| world.breach != Some(Breach::OutOfOrder)),
            Property::always(promise::NOTHING_SKIPPED, |_, world: &World| world.skips_nothing()),
            Property::always(promise::REAL_GAPS, |_, world: &World| world.gaps_are_real()),
            Property::always(promise::NO_STALE_WRITE, |_, world: &World| world.breach != Some(Breach::StaleWrite)),
            Property::always(promise::NEWEST_STAYS, |_, world: &World| world.breach != Some(Breach::NewestTurnedAway)),
            Property::always(promise::COMPLETE_MAILBOX, |_, world: &World| world.mailbox_is_complete()),
            Property::always(promise::DELIVERS, |gateway: &Self, world: &World| {
                matches!(continuation::end(gateway, world), End::Delivered(_))
            }),
        ];
        all.retain(|property| self.only.is_none_or(|only| only == property.name));
        all
    }
}
