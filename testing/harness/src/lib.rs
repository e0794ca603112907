//! Runs the real `nimbus` binary for tests: own data directory, free ports, signals, restarts, and its metrics.
//!
//! Nothing here waits for a guessed time: a server is ready when it says so, an exit is awaited, and whatever does not come
//! fails after [`PATIENCE`].

mod balancer;
mod binary;
mod cluster;
mod metrics;
mod readiness;
mod server;
mod session;
mod tmpfs;

use std::time::Duration;

pub use self::{
    balancer::Balancer,
    binary::{nimbus_binary, run_nimbus},
    cluster::TestCluster,
    metrics::Metrics,
    readiness::until_ready,
    server::{Builder, TestNimbus},
    session::{RawSession, connect, error_reason, hello, outbox},
    tmpfs::Tmpfs,
};

/// How long anything in a test may take before it counts as hanging. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
