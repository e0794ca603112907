//! How a process is watched: logs, metrics, and the admin endpoint that serves liveness, readiness and metrics.
//!
//! Metrics live next to the code that counts: every crate registers its own in a registry that the composition root makes
//! and gives to [`admin`]. Nothing here is global but the log subscriber, which tracing wants so.
//!
//! Left out: traces to a collector, and any login on the admin endpoint; it listens on loopback unless told otherwise.

pub mod admin;
mod log;
mod process;
mod readiness;

pub use log::{LogError, LogFormat, init_logs};
pub use process::register_process_metrics;
pub use readiness::{Latch, Readiness};
