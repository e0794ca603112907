//! The services of one test run, which all its tests share: `nimbus-services run` starts them and says where they are.
//!
//! A test that needs one asks first, and returns when there is none:
//!
//! ```no_run
//! let Some(brokers) = nimbus_services::shared::kafka() else { return };
//! # let _brokers: String = brokers;
//! ```
//!
//! Such a test passes without having tested anything, so it says so aloud. Under CI nothing is skipped: it fails.
//! What tests share they must not collide in: every test makes topics, groups and keys with names of its own, and whoever
//! kills or pauses a service starts one of its own.

use std::{
    env,
    io::{self, Write as _},
    thread,
};

/// Where the shared Kafka is, `host:port`.
pub const KAFKA: &str = "NIMBUS_TEST_KAFKA";

/// Where the shared Redis is, `host:port`.
pub const REDIS: &str = "NIMBUS_TEST_REDIS";

/// The list of brokers; nothing, and a line on standard error, when this run has none.
///
/// # Panics
/// There is none although `CI` is `true`.
pub fn kafka() -> Option<String> {
    shared(KAFKA, "Kafka")
}

/// `host:port` of the Redis; nothing, and a line on standard error, when this run has none.
///
/// # Panics
/// There is none although `CI` is `true`.
pub fn redis() -> Option<String> {
    shared(REDIS, "Redis")
}

/// Whether nothing may be skipped.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that a test is skipped and why, past the capture of the test runner, which would swallow it.
///
/// # Panics
/// `CI` is `true`.
pub fn skip(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(!is_ci(), "{test} {why}, and nothing is skipped under CI");
    // Nobody is left to tell that standard error is gone.
    writeln!(io::stderr(), "SKIPPED: {test} {why}").ok();
}

fn shared(variable: &str, name: &str) -> Option<String> {
    let address = env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        skip(&format!("needs {name}: run it under `nimbus-services run --`, as `make test` does, or set {variable}"));
    }
    address
}
