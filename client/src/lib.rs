//! Rust SDK of Nimbus: connect, send, receive, resume.
//!
//! A [`Client`] keeps one stream to a gateway open for good. What it [sends](Client::send) has a number, is kept in an
//! [`Outbox`] until the server has it durably, and is answered exactly once through [`recv`](Client::recv), in order, also
//! when the connection or the server was gone in between. It never drops anything silently: what may have been missed is
//! a typed [`Gap`], an answer that may have lain in it is [`Outcome::Unknown`].
//!
//! ```no_run
//! use nimbus_client::{Client, Event, Incoming};
//!
//! # async fn example() -> Result<(), nimbus_client::Error> {
//! let client = Client::builder("http://127.0.0.1:50051").client_id("device-1").connect().await?;
//! client.send(Event::new("sq", "12").content_type("application/json")).await?;
//! client.goodbye();
//! while let Some(incoming) = client.recv().await? {
//!     if let Incoming::Answer(answer) = incoming {
//!         println!("{}: {:?}", answer.seq, answer.outcome);
//!     }
//! }
//! client.finish().await
//! # }
//! ```
//!
//! # What is promised
//!
//! - [`Client::accepted`]: every event up to that number is durable on the server.
//! - Each accepted event gets one [`Answer`], in the order of the numbers (except events of the jobs lane, which overtake
//!   one another), if the client comes back within the server's retention. After a [`Gap`], [`Outcome::Unknown`] comes out
//!   of that order.
//! - An answer counts as handed over when `recv` is called again (or by [`Client::ack`]). With [`Outbox::file`], a restart
//!   hands out everything that was not: after a crash, answers that were handed over in its last 50 ms or so may come
//!   once more, since acknowledgements are kept in batches. Wait for `ack` where that matters, or make use of (outbox id,
//!   number) as the key of what you do with an answer.
//! - [`Part`]s are at least once.

mod builder;
mod client;
mod connection;
mod error;
mod event;
mod incoming;
mod machine;
mod outbox;
mod shared;
mod state;
mod status;

#[cfg(test)]
mod tests;

pub use self::{
    builder::{Builder, DEFAULT_CONNECT_TIMEOUT, DEFAULT_RECEIVE_WINDOW, DEFAULT_UNKNOWN_AFTER},
    client::{Client, Receipt, Remains},
    connection::{Connection, Connector},
    error::Error,
    event::{Event, MAX_PAYLOAD_BYTES, Seq},
    incoming::{Answer, Body, Extra, ExtraKind, Failure, Gap, Incoming, Outcome, Part, PartKind, Push},
    outbox::{DEFAULT_CAPACITY, Outbox},
    state::{Departures, Resumed, Session, State},
};
