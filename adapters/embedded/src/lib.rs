//! Embedded backend: segment log, consumer groups and mailbox in one directory.

mod body;
mod queue;
mod state;
mod topic;
