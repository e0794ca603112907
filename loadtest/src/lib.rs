//! Load harness: a closed or an open loop over both protocols that checks every answer.
//!
//! In the closed loop a stream keeps `window` events outstanding and sends the next one when an answer comes: that finds
//! out how much a server does. In the open loop events have their turns at a fixed rate, and latency counts from the turn:
//! that finds out how long clients wait who do not wait for each other. It uses raw gRPC streams with messages of its own ([`wire`]) rather than the
//! SDK: no task or allocation per event and a lock that nobody else wants, so that the harness is not what is measured.
//!
//! - [`run`]: the load itself, [`LoadConfig`] → [`LoadReport`]; [`run_until`] for all that it found out, a [`LoadResult`];
//! - [`merge`], [`compare`], [`page`]: what can be done with results;
//! - [`idle`]: many streams that say nothing, for what they cost a server;
//! - [`wire`]: the lean messages, also of use to a server that is to be as lean.

mod answers;
mod config;
mod cost;
mod error;
mod gather;
pub mod idle;
mod meter;
mod pacer;
mod report;
mod result;
mod run;
mod stream;
mod tally;
mod transport;
pub mod wire;

#[cfg(test)]
mod tests;

pub use self::{
    config::{Limit, LoadConfig, OPEN_WINDOW, Protocol, Weighted},
    cost::{Cost, Machine, ServerCost, cpu_seconds, resident_kib},
    error::LoadError,
    report::{Latency, LoadProgress, LoadReport, OpenLoop},
    result::{Compared, Latencies, LoadResult, SCHEMA, Sample, Unit, compare, merge, page},
    run::{run, run_until},
    transport::Destination,
};
