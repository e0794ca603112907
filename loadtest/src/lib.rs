//! Load harness: a closed loop over both protocols that checks every answer.
//!
//! A stream keeps `window` events outstanding, sends the next one when an answer comes, and so measures what the server
//! does, not how fast a client can shout. It uses raw gRPC streams with messages of its own ([`wire`]) rather than the
//! SDK: no task, lock or allocation per event, so that the harness is not what is measured.
//!
//! - [`run`]: the load itself, [`LoadConfig`] → [`LoadReport`];
//! - [`idle`]: many streams that say nothing, for the memory that they cost;
//! - [`wire`]: the lean messages, also of use to a server that is to be as lean.

mod answers;
mod config;
mod error;
pub mod idle;
mod report;
mod run;
mod stream;
mod transport;
pub mod wire;

#[cfg(test)]
mod tests;

pub use self::{
    config::{Limit, LoadConfig, Protocol},
    error::LoadError,
    report::{Latency, LoadProgress, LoadReport},
    run::{run, run_until},
};
