//! One stream: the outgoing queue, the opening, and the driver that runs the session machine.

mod delivery_source;
mod driver;
mod entrance;
mod holding;
mod opening;
mod out;

pub(crate) use self::{
    delivery_source::FetchedPage,
    driver::{Wire, WireFrame},
    entrance::{Entrance, credentials, unreadable},
    opening::{Opening, OpeningKind, fresh_outbox, wire_token},
    out::{OutStream, Outgoing},
};
