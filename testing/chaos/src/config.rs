//! What a run is made of.

use std::{path::PathBuf, time::Duration};

use crate::Kind;

/// Clients.
pub const DEFAULT_CLIENTS: usize = 64;
/// Events a second: what two cores bear together with Kafka, Redis and six processes, without queueing.
pub const DEFAULT_RATE: f64 = 1_000.0;
/// Of each event.
pub(crate) const PAYLOAD_BYTES: usize = 64;

/// How long faults are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// For this long; at least one is begun.
    Time(Duration),
    /// Until there were so many.
    Faults(usize),
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The `nimbus` that is tested.
    pub binary: PathBuf,
    /// Decides order, victims and moments.
    pub seed: u64,
    /// When it ends.
    pub limit: Limit,
    /// How long the load is measured before the first fault, after as long a time to settle; and how long it goes on after the last.
    pub steady: Duration,
    /// How many clients.
    pub clients: usize,
    /// Events a second, of all clients together.
    pub rate: f64,
    /// Of each event.
    pub payload_bytes: usize,
    /// Which faults.
    pub kinds: Vec<Kind>,
    /// Where logs and reports go.
    pub out: PathBuf,
}

impl Config {
    /// Every kind of fault, with the defaults for the rest.
    pub fn new(binary: impl Into<PathBuf>, seed: u64, limit: Limit, out: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            seed,
            limit,
            steady: Duration::from_secs(10),
            clients: DEFAULT_CLIENTS,
            rate: DEFAULT_RATE,
            payload_bytes: PAYLOAD_BYTES,
            kinds: Kind::ALL.to_vec(),
            out: out.into(),
        }
    }
}
