//! Contract suites: one for each port, run by every adapter.
//!
//! A suite is a set of async functions, one per promise of the port, each of which takes a factory and gets a fresh backend
//! from it. An adapter runs all of them with one macro, each as a test of its own:
//!
//! ```text
//! nimbus_contracts::mailbox_contract!(make);   // async fn make(partitions: PartitionCount) -> impl MailboxFixture
//! ```
//!
//! The suites know the ports only. What a port leaves open (how soon, in which batches, with which offsets) they leave open
//! too: offsets are compared, never counted, and a wait is for the event itself with a deadline that only a failure
//! meets. What needs a fault (a held disk, a failed write, retention) is a suite apart, for the adapters that can inject it:
//! a test is run or is not there, never skipped in silence.

pub mod log;
pub mod mailbox;
pub mod notifier;
mod sample;
mod support;

pub use sample::Sample;
pub use support::{DEADLINE, within};

/// Turns a list of suite functions into tests. Used by the suites' own macros.
#[doc(hidden)]
#[macro_export]
macro_rules! __contract_tests {
    ($suite:path, $make:expr; $($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            use $suite as suite;
            suite::$name($make).await;
        })+
    };
}

/// Calls a list of suite functions one after another. Used by the suites' own functions.
#[doc(hidden)]
#[macro_export]
macro_rules! __contract_calls {
    ($make:expr; $($name:ident)+) => {
        $($name($make).await;)+
    };
}

#[cfg(test)]
mod tests;
