//! Redis backend: mailboxes, who owns them, the fold, and the bus between servers.
//!
//! Everything here is an index over the results log, which is the truth: it can be lost at any time and is filled again. The
//! rules are those of `nimbus_core::mailbox`; this crate reads what they decide on, and writes what they decided if nothing
//! changed meanwhile. `keys.rs` lists every key.

mod anew;
mod backlog;
mod checks;
mod codec;
mod command;
mod config;
mod epoch;
mod error;
mod examine;
mod keys;
mod link;
mod mailbox;
mod metrics;
mod moves;
mod notifier;
mod pulse;
mod scripts;
mod store;
mod timeline;
mod tls;

pub use config::RedisConfig;
pub use error::{Finding, RedisError};
pub use mailbox::{Beginning, ClientView, Found, LogBeginning, MailboxMetrics, RedisMailbox};
pub use metrics::RedisMetrics;
pub use notifier::{NotifierMetrics, QueueLimits, RedisNotifier};
pub use store::{PortMetrics, RedisPorts, RedisStore};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
