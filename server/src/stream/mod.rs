//! One stream: the outgoing queue, the opening, and the driver that runs the session machine.

mod delivery_source;
mod driver;
mod entrance;
mod holding;
mod opening;
mod out;
mod wire;

pub(crate) use self::{
    delivery_source::FetchedPage,
    entrance::{Entrance, credentials, unreadable},
    opening::{Opening, OpeningKind, fresh_outbox, wire_token},
    out::{OutStream, Outgoing},
    wire::{Wire, WireFrame},
};
