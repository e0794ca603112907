//! The gRPC edge: turns streams into sessions.
//!
//! It keeps no durable state: everything that must survive is in the logs and the mailbox, behind the ports. The rules of a
//! session are the pure machine of `nimbus_core::session`; this crate reads frames, carries out the machine's actions and
//! translates between it and two wire protocols.

mod acks;
pub mod auth;
pub mod config;
mod dispatch;
mod edge;
mod gentle;
mod heard;
mod http2;
mod metrics;
mod openings;
mod original;
mod rate;
mod scan;
mod share;
mod shared;
mod status;
mod stream;
#[cfg(test)]
mod testing;
mod tls;
mod v1;

pub use config::EdgeConfig;
pub use edge::{Edge, EdgeError};
pub use metrics::Metrics;
pub use shared::EdgePorts;
pub use tls::{Tls, TlsError, TlsFiles};
