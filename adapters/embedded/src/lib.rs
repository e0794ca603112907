//! Embedded backend: segment log, consumer groups and mailbox in one directory.

mod body;
mod mailbox;
mod notifier;
mod queue;
mod state;
mod topic;

pub use mailbox::{EmbeddedMailbox, MailboxMetrics};
pub use notifier::{EmbeddedNotifier, NotifierConfig, NotifierMetrics};
