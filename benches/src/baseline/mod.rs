//! The limits that Nimbus is measured against on its embedded log: raw tonic and one fdatasync per batch, and no guarantee at
//! all; and raw tonic alone.
//!
//! It gathers the events of all streams, appends a record of each to one file, syncs once, and answers with the squares.
//! It forgets everything else: no dedup, no resume, no order across a restart, no limits, no executors. It speaks both
//! protocols as far as a load needs them.

mod original;
mod v1;
mod writer;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::Path};

use self::writer::Writer;
use crate::edge;

/// Serves until the process ends, from a file in this directory, or without one. `listening` is told the address.
pub(crate) async fn serve(directory: Option<&Path>, listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let writer = match directory {
        Some(directory) => Writer::start(&directory.join("baseline.log"))?,
        None => Writer::none(),
    };
    edge::serve(original::Service::new(writer.clone()), v1::Service::new(writer), listening).await
}
