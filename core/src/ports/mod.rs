//! The ports: what Nimbus needs from the outside, each on one screen.
//!
//! Every port has one contract suite in `testing/contracts`, which all its adapters pass. Ports speak domain types and
//! domain errors. They are object-safe: the composition root picks the adapters at start.

pub mod authenticator;
pub mod executor;
pub mod log;
pub mod mailbox;
pub mod notifier;
