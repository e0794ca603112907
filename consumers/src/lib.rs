//! The executor runtime (events → results) and the router (results → mailbox).
//!
//! [`dead_letters`] is what an operator does about events that failed for good.
//!
//! Both halves are members of consumer groups and know ports only. What they promise is written down in
//! `docs/adr/0001-delivery-guarantee.md`: an executor runs at least once per event, and each event gets at least one
//! terminal record in the results log, the events of a client in order; the mailbox's fold makes that exactly one.

mod catalogue;
mod config;
pub mod dead_letters;
#[cfg(test)]
mod end_to_end;
mod error;
mod group;
mod lane;
mod metrics;
mod retry;
mod router;
#[cfg(test)]
mod testing;

pub use catalogue::Catalogue;
pub use config::{ExecutorConfig, RouterConfig};
pub use error::{CatalogueError, ConsumersError};
pub use lane::{ExecutorPorts, JOBS_GROUP, ORDERED_GROUP, keep_panics_of_executors, run_executors};
pub use metrics::{ExecutorMetrics, RouterMetrics};
pub use retry::Backoff;
pub use router::{Evidence, ROUTER_GROUP, RouterPorts, evidence, run_router};

/// Every consumer group there is.
pub const GROUPS: [&str; 3] = [ORDERED_GROUP, JOBS_GROUP, ROUTER_GROUP];
